// Free frames and small objects: no overlap, nothing lost, nothing shown, limits kept.
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/frames.hpp"
#include "tests/fake/machine.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace domus::test {
namespace {

using namespace domus::hv;

class Frames : public testing::Test {
protected:
    Frames() : before_((fake::machine(), free_frame_count())) {}
    ~Frames() override { EXPECT_EQ(free_frame_count(), before_); }
    u64 before_;
};

TEST_F(Frames, BlocksAreAlignedZeroedAndDisjoint) {
    std::vector<std::pair<Mfn, u32>> held;
    std::vector<bool> taken(fake::ram_frames);
    for (u32 order : {0u, 3u, 1u, 9u, 0u, 5u}) {
        const Mfn first = allocate_frames(order).value();
        EXPECT_EQ(first.n % (u64{1} << order), 0u);
        for (u64 i = 0; i < u64{1} << order; ++i) {
            EXPECT_FALSE(taken[first.n + i]);
            taken[first.n + i] = true;
            for (u64 at = 0; at < page_size; ++at)
                ASSERT_EQ(arch::frame_pointer(first + i)[at], 0);
        }
        held.push_back({first, order});
    }
    for (auto [first, order] : held)
        free_frames(first, order);
}

// The fake machine's RAM is full of 0xa5 at its start, as a real one's is of what the firmware left.
TEST_F(Frames, WhatWasThereBeforeTheStartIsNotShown) {
    mark_free_frames_dirty();
    std::vector<Mfn> held;
    while (free_frame_count() > 0) {
        held.push_back(allocate_frames_below(0, 64).value());
        const u8* bytes = arch::frame_pointer(held.back());
        ASSERT_EQ(std::count(bytes, bytes + page_size, 0), static_cast<i64>(page_size)) << held.back().n;
    }
    for (Mfn frame : held)
        free_frames(frame);
}

bool holds_only(Mfn frame, u8 value) {
    const u8* bytes = arch::frame_pointer(frame);
    return std::count(bytes, bytes + page_size, value) == static_cast<i64>(page_size);
}

u32 scrub_all() {
    u32 steps = 0;
    while (scrub_free_frames())
        ++steps;
    return steps;
}

TEST_F(Frames, AreScrubbedByACpuWithoutWork) {
    const Mfn used = allocate_frames(4).value();
    std::memset(arch::frame_pointer(used), 0x5a, page_size << 4);
    free_frames(used, 4);
    EXPECT_GT(scrub_all(), 0u) << "a step is to be a short one";
    for (u64 i = 0; i < 16; ++i)
        EXPECT_TRUE(holds_only(used + i, 0)) << i;
    EXPECT_FALSE(scrub_free_frames());
    // Nobody zeroes them again: a mark shows it.
    std::memset(arch::frame_pointer(used), 0x77, page_size << 4);
    std::vector<Mfn> held;
    u32 marked = 0;
    while (free_frame_count() > 0) {
        held.push_back(allocate_frames_below(0, 64).value());
        marked += holds_only(held.back(), 0x77);
    }
    EXPECT_EQ(marked, 16u);
    for (Mfn frame : held)
        free_frames(frame);
}

// Whoever had the frame could write to it by a translation that is left over.
TEST_F(Frames, AreScrubbedOnlyWhenNobodyCanWriteToThem) {
    struct : fake::Watcher {
        void entry_written(Mfn, u32, u64, u64) override {}
        void flushed(arch::CpuMask) override { old_contents_at_flush = holds_only(frame, 0x5a); }
        Mfn frame{};
        bool old_contents_at_flush = false;
    } watcher;
    watcher.frame = allocate_frames().value();
    std::memset(arch::frame_pointer(watcher.frame), 0x5a, page_size);
    note_stale_translations();
    free_frames(watcher.frame);
    fake::machine().watcher = &watcher;
    scrub_all();
    fake::machine().watcher = nullptr;
    EXPECT_TRUE(watcher.old_contents_at_flush);
    EXPECT_TRUE(holds_only(watcher.frame, 0));
}

TEST_F(Frames, ScrubbingLeavesAllocatedFramesAlone) {
    std::mt19937 random(7);
    std::map<u64, u8> held;
    for (int i = 0; i < 3000; ++i) {
        if (held.empty() || random() % 3 != 0) {
            const Mfn frame = allocate_frames_below(0, 64).value();
            const u8 mark = static_cast<u8>(random() | 1);
            std::memset(arch::frame_pointer(frame), mark, page_size);
            held[frame.n] = mark;
        } else {
            auto it = std::next(held.begin(), static_cast<long>(random() % held.size()));
            free_frames(Mfn(it->first));
            held.erase(it);
        }
        if (random() % 4 == 0)
            scrub_free_frames();
    }
    for (auto [frame, mark] : held) {
        ASSERT_TRUE(holds_only(Mfn(frame), mark)) << frame;
        free_frames(Mfn(frame));
    }
    scrub_all();
    for (u64 frame = 1; frame < fake::ram_frames; ++frame) {
        const TypeWord word{frame_info(Mfn(frame)).type.load()};
        EXPECT_FALSE(word.has(TypeWord::Dirty)) << frame;
    }
}

TEST_F(Frames, RandomUseLosesNothingAndMergesAgain) {
    std::mt19937 random(3);
    std::map<u64, u32> held;
    for (int i = 0; i < 5000; ++i) {
        if (random() % 2 == 0 || held.empty()) {
            const u32 order = random() % 6;
            const auto first = allocate_frames_below(order, random() % 2 ? 64 : 24);
            if (!first)
                continue;
            auto next = held.lower_bound(first.value().n);
            if (next != held.end()) {
                ASSERT_LE(first.value().n + (u64{1} << order), next->first);
            }
            if (next != held.begin()) {
                ASSERT_GE(first.value().n, std::prev(next)->first + (u64{1} << std::prev(next)->second));
            }
            held[first.value().n] = order;
        } else {
            auto it = std::next(held.begin(), static_cast<long>(random() % held.size()));
            free_frames(Mfn(it->first), it->second);
            held.erase(it);
        }
    }
    for (auto [first, order] : held)
        free_frames(Mfn(first), order);
    const auto large = allocate_frames_below(12, 64); // 4096 of 7936 frames: only if all merged again
    ASSERT_TRUE(large);
    free_frames(large.value(), 12);
}

TEST_F(Frames, AddressLimitsAndImpossibleOrders) {
    const Mfn low = allocate_frames_below(0, 22).value(); // 4 MiB: frames below 1024
    EXPECT_LT(low.n, 1024u);
    free_frames(low);
    EXPECT_EQ(allocate_frames_below(0, 12).error(), Err::NoMem);
    EXPECT_EQ(allocate_frames_below(0, 20).error(), Err::NoMem) << "all of it devices";
    EXPECT_EQ(allocate_frames(max_order).error(), Err::NoMem);
    EXPECT_EQ(allocate_frames(max_order + 1).error(), Err::NoMem);
}

TEST_F(Frames, OutOfMemoryIsAnAnswer) {
    std::vector<Mfn> all;
    while (free_frame_count() > 0)
        all.push_back(allocate_frames().value());
    EXPECT_EQ(allocate_frames().error(), Err::NoMem);
    EXPECT_EQ(all.size(), before_);
    EXPECT_EQ(heap_allocate(4096), nullptr);
    for (Mfn mfn : all)
        free_frames(mfn);
}

TEST_F(Frames, SmallObjectsOfAllSizes) {
    std::mt19937 random(5);
    std::vector<std::pair<u8*, usize>> held;
    for (int i = 0; i < 20000; ++i) {
        if (random() % 2 == 0 || held.empty()) {
            const usize size = 1 + random() % (random() % 50 == 0 ? 9000 : 700);
            auto* object = static_cast<u8*>(heap_allocate(size));
            ASSERT_NE(object, nullptr);
            ASSERT_EQ(reinterpret_cast<u64>(object) % 16, 0u);
            ASSERT_TRUE(std::all_of(object, object + size, [](u8 byte) { return byte == 0; })) << "of size " << size;
            std::memset(object, static_cast<int>(size), size);
            held.push_back({object, size});
        } else {
            const usize at = random() % held.size();
            auto [object, size] = held[at];
            ASSERT_TRUE(std::all_of(object, object + size, [size](u8 byte) { return byte == static_cast<u8>(size); }));
            heap_free(object, size);
            held.erase(held.begin() + static_cast<long>(at));
        }
    }
    for (auto [object, size] : held)
        heap_free(object, size);
}

} // namespace
} // namespace domus::test
