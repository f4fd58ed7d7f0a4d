// Domus' own operations on page tables: runs of L1 entries, and lists of tables with their aliases. What they do for a
// guest that uses them as meant, and that a hostile one gains nothing. Interface: hypervisor/abi/domus.h.
#include "guest.hpp"

#include "hypervisor/abi/domus.h"
#include "hypervisor/core/extension.hpp"
#include "hypervisor/pv/table_ways.hpp"

#include <random>

namespace domus::test {
namespace {

constexpr u64 no_execute = entry::no_execute;

class Extension : public MemoryTest {
protected:
    Extension() {
        set_extension_features(~u32{0});
        g = make_guest();
        as(g);
        t = build(g);
        EXPECT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
        EXPECT_TRUE(ext(MMUEXT_NEW_BASEPTR, t.l4));
    }
    ~Extension() override {
        set_extension_features(~u32{0});
        expect_sound({t.l4});
        destroy(g);
    }
    Result<i64> call(u32 operation, u64 first, u64 count, u64 clear = 0, u64 set = 0) {
        Call made{g.vcpu(), *g.domain, {operation, first, count, clear, set, 0}};
        for (restarts = 0;; ++restarts) {
            const auto result = extension(made, static_cast<u32>(made.args[0]), {made.args[1]});
            if (result || result.error() != Err::Restart)
                return result;
            if (restarts > 10000)
                throw fake::Stopped("an extension call restarts for ever");
        }
    }
    static u64 place(Mfn table, u32 index) { return base_of(table).n + index * sizeof(u64); }
    // Frames of its own in entries [0, count) of the L1.
    void fill(u32 count, u64 flags = rw) {
        for (u32 i = 0; i < count; ++i) {
            frames.push_back(g.frame());
            ASSERT_TRUE(update_one(t.l1, i, entry::make(frames.back(), flags)));
        }
    }
    Guest g;
    Tables t;
    std::vector<Mfn> frames;
};

TEST_F(Extension, ProtectGivesWritingTheLongWayToo) {
    fill(20);
    for (const u32 ways : {u32{0}, ~u32{0}}) {
        table_ways = ways;
        ASSERT_TRUE(call(DOMUS_EXT_protect, place(t.l1, 0), 20, entry::writable));
        ASSERT_TRUE(call(DOMUS_EXT_protect, place(t.l1, 0), 20, 0, entry::writable));
        for (u32 i = 0; i < 20; ++i)
            EXPECT_EQ(Guest::at(t.l1, i), entry::make(frames[i], rw)) << i;
        expect_sound({t.l4});
    }
}

TEST_F(Extension, ProtectTakesWritingFromARunAndGivesItBack) {
    fill(20);
    ASSERT_TRUE(call(DOMUS_EXT_protect, place(t.l1, 3), 10, entry::writable));
    for (u32 i = 0; i < 20; ++i)
        EXPECT_EQ(entry::is_writable(Guest::at(t.l1, i)), i < 3 || i >= 13) << i;
    EXPECT_EQ(Guest::at(t.l1, 3), entry::make(frames[3], rw & ~entry::writable)) << "accessed and dirty stay";
    ASSERT_TRUE(call(DOMUS_EXT_protect, place(t.l1, 0), 20, 0, entry::writable | no_execute));
    EXPECT_EQ(Guest::at(t.l1, 3), entry::make(frames[3], rw | no_execute));
    expect_sound({t.l4});
}

TEST_F(Extension, ProtectLeavesAbsentEntriesAlone) {
    fill(2);
    ASSERT_TRUE(update_one(t.l1, 5, 0x1234000)); // a swap entry
    ASSERT_TRUE(call(DOMUS_EXT_protect, place(t.l1, 0), 512, entry::writable, no_execute));
    EXPECT_EQ(Guest::at(t.l1, 5), 0x1234000u);
    EXPECT_EQ(Guest::at(t.l1, 100), 0u);
    EXPECT_EQ(Guest::at(t.l1, 1), entry::make(frames[1], (rw & ~entry::writable) | no_execute));
}

TEST_F(Extension, TheEndsOfATable) {
    fill(1);
    EXPECT_TRUE(call(DOMUS_EXT_protect, place(t.l1, 511), 1, entry::writable)) << "the last one";
    EXPECT_TRUE(call(DOMUS_EXT_protect, place(t.l1, 0), 0, entry::writable)) << "none";
    EXPECT_EQ(Guest::at(t.l1, 0), entry::make(frames[0], rw));
}

TEST_F(Extension, RunsGoOnAfterInterruptions) {
    fill(300);
    m.yield_every = 1;
    ASSERT_TRUE(call(DOMUS_EXT_protect, place(t.l1, 0), 300, entry::writable));
    EXPECT_GE(restarts, 4u);
    ASSERT_TRUE(call(DOMUS_EXT_protect, place(t.l1, 0), 299, 0, entry::writable));
    EXPECT_GE(restarts, 4u);
    EXPECT_EQ(Guest::at(t.l1, 298), entry::make(frames[298], rw));
    EXPECT_EQ(Guest::at(t.l1, 299), entry::make(frames[299], rw & ~entry::writable));
    expect_sound({t.l4});
}

TEST_F(Extension, ProtectLetsOthersInWhileAnEntryChangesUnderItsHands) {
    fill(5);
    m.yield_every = 1;
    for (const u64 clear : {entry::writable, u64{0}}) { // takes writing away, then gives it back
        m.late_exchanges = 500;
        ASSERT_TRUE(call(DOMUS_EXT_protect, place(t.l1, 0), 5, clear, clear ^ entry::writable));
        EXPECT_EQ(m.late_exchanges, 0u);
        EXPECT_GE(restarts, 5u);
        for (u32 i = 0; i < 5; ++i)
            EXPECT_EQ(entry::is_writable(Guest::at(t.l1, i)), clear == 0) << i;
        expect_sound({t.l4});
    }
}

TEST_F(Extension, OnlyRunsWithinAnL1OfItsOwn) {
    fill(4);
    Guest other = make_guest();
    as(other);
    const Tables foreign = build(other);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, foreign.l4));
    as(g);
    for (const u32 operation : {DOMUS_EXT_protect, DOMUS_EXT_map}) {
        EXPECT_EQ(call(operation, place(foreign.l1, 0), 1).error(), Err::Inval) << "another domain's";
        EXPECT_EQ(call(operation, place(t.l2, 0), 1).error(), Err::Inval) << "an L2";
        EXPECT_EQ(call(operation, place(t.l4, 256), 16).error(), Err::Inval) << "the hypervisor's slots";
        EXPECT_EQ(call(operation, place(frames[0], 0), 1).error(), Err::Inval) << "a page of data";
        EXPECT_EQ(call(operation, place(Mfn(3), 0), 1).error(), Err::Inval) << "no RAM of a guest's";
        EXPECT_EQ(call(operation, place(t.l1, 1) + 4, 1).error(), Err::Inval) << "not an entry's address";
        EXPECT_EQ(call(operation, place(t.l1, 1), 512).error(), Err::Inval) << "beyond the table";
        EXPECT_EQ(call(operation, place(t.l1, 1), ~u64{0}).error(), Err::Inval) << "a count that wraps";
        EXPECT_EQ(call(operation, place(t.l1, 1), (u64{1} << 32) + 1).error(), Err::Inval) << "cut to 32 bits it fits";
        EXPECT_EQ(call(operation, ~u64{7}, 1).error(), Err::Inval) << "beyond all memory";
    }
    EXPECT_EQ(Guest::at(t.l1, 0), entry::make(frames[0], rw));
    EXPECT_TRUE(entry::is_present(Guest::at(t.l2, 0)));
    as(other);
    expect_sound({t.l4});
    destroy(other);
    as(g);
}

TEST_F(Extension, ProtectChangesRightsOnly) {
    fill(4);
    for (u64 bits : {entry::present, entry::frame_mask, u64{1} << 12, entry::write_through, entry::cache_disable,
                     entry::large, entry::global}) {
        EXPECT_EQ(call(DOMUS_EXT_protect, place(t.l1, 0), 4, bits).error(), Err::Inval) << std::hex << bits;
        EXPECT_EQ(call(DOMUS_EXT_protect, place(t.l1, 0), 4, 0, bits).error(), Err::Inval) << std::hex << bits;
    }
    EXPECT_EQ(Guest::at(t.l1, 0), entry::make(frames[0], rw));
    ASSERT_TRUE(call(DOMUS_EXT_protect, place(t.l1, 0), 4, entry::user)); // as mmu_update: every entry is the user's
    EXPECT_EQ(Guest::at(t.l1, 0), entry::make(frames[0], rw));
}

TEST_F(Extension, ProtectMakesNoPageTableWritable) {
    fill(2);
    ASSERT_TRUE(update_one(t.l1, 2, entry::make(t.l1, ro)));
    ASSERT_TRUE(update_one(t.l1, 3, entry::make(t.l4, ro)));
    EXPECT_EQ(call(DOMUS_EXT_protect, place(t.l1, 0), 4, 0, entry::writable).error(), Err::Inval);
    EXPECT_EQ(call(DOMUS_EXT_protect, place(t.l1, 3), 1, 0, entry::writable).error(), Err::Inval);
    EXPECT_FALSE(entry::is_writable(Guest::at(t.l1, 2)));
    EXPECT_FALSE(entry::is_writable(Guest::at(t.l1, 3)));
    expect_sound({t.l4});
}

// New contents of runs.
class MapRun : public Extension {
protected:
    Result<i64> map(u32 first, const std::vector<u64>& values, u64 at = fake::window_base) {
        std::copy(values.begin(), values.end(), reinterpret_cast<u64*>(m.window(fake::window_base, values.size() * 8)));
        return call(DOMUS_EXT_map, place(t.l1, first), values.size(), at);
    }
    std::vector<u64> values_of_new_frames(u32 count, u64 flags) {
        std::vector<u64> values;
        for (u32 i = 0; i < count; ++i)
            values.push_back(entry::make(frames.emplace_back(g.frame()), flags));
        return values;
    }
};

TEST_F(MapRun, FillsAndReplaces) {
    for (const u32 ways : {u32{0}, ~u32{0}}) {
        table_ways = ways;
        auto values = values_of_new_frames(8, rw);
        values[3] = 0;
        values[4] = 0x1234000; // a swap entry
        values[5] ^= entry::writable;
        ASSERT_TRUE(map(2, values));
        for (u32 i = 0; i < 8; ++i)
            EXPECT_EQ(Guest::at(t.l1, 2 + i), values[i]) << i;
        expect_sound({t.l4});
        std::swap(values[0], values[7]); // over what is there, present and absent
        values[3] = values[1];
        values[5] ^= entry::writable;
        ASSERT_TRUE(map(2, values));
        for (u32 i = 0; i < 8; ++i)
            EXPECT_EQ(Guest::at(t.l1, 2 + i), values[i]) << i;
        expect_sound({t.l4});
        ASSERT_TRUE(map(2, std::vector<u64>(8)));
        expect_sound({t.l4});
    }
    table_ways = ~u32{0};
}

TEST_F(MapRun, GoesOnInItsListWhereItStopped) {
    g.domain->frames.with([](OwnedFrames& list) { list.maximum += 300; });
    const auto values = values_of_new_frames(300, rw);
    m.yield_every = 1;
    ASSERT_TRUE(map(100, values));
    EXPECT_GE(restarts, 4u);
    for (u32 i = 0; i < 300; ++i)
        EXPECT_EQ(Guest::at(t.l1, 100 + i), values[i]) << i;
    expect_sound({t.l4});
}

TEST_F(MapRun, StopsAtWhatIsRefused) {
    Guest other = make_guest();
    const u64 foreign = entry::make(other.frame(), ro);
    for (u64 bad : {foreign, entry::make(t.l1, rw), entry::make(t.l4, rw), entry::make(Mfn(3), ro),
                    entry::make(g.frame(), ro | entry::cache_disable)}) {
        auto values = values_of_new_frames(4, rw);
        values[2] = bad;
        EXPECT_EQ(map(20, values).error(), Err::Inval) << std::hex << bad;
        EXPECT_EQ(Guest::at(t.l1, 21), values[1]) << "those before it are done";
        EXPECT_EQ(Guest::at(t.l1, 22), 0u);
        EXPECT_EQ(Guest::at(t.l1, 23), 0u);
        expect_sound({t.l4});
        ASSERT_TRUE(map(20, std::vector<u64>(4)));
    }
    ASSERT_TRUE(map(20, {entry::make(t.l1, ro)})) << "a table may be read";
    destroy(other);
}

TEST_F(MapRun, ListsThatCannotBeRead) {
    for (u64 at : {u64{0x3000}, u64{0xffff800000000000}, ~u64{0} - 7, fake::window_base + fake::window_size - 8})
        EXPECT_EQ(map(0, std::vector<u64>(4), at).error(), Err::Fault) << std::hex << at;
    EXPECT_TRUE(call(DOMUS_EXT_map, place(t.l1, 0), 0, ~u64{0})) << "none of them is read";
}

// A list of tables in the guest's memory.
class TableLists : public Extension {
protected:
    TableLists() {
        // A second tree, not pinned, each of its pages mapped writable in the first: the kernel's own view.
        child = build(g);
        for (Mfn table : {child.l1, child.l2, child.l3, child.l4})
            map(table);
    }
    void map(Mfn mfn) {
        ASSERT_TRUE(update_one(t.l1, mapped, entry::make(mfn, rw)));
        ++mapped;
    }
    Result<i64> lists(u32 operation, const std::vector<u64>& list, u64 position = 0) {
        std::copy(list.begin(), list.end(), reinterpret_cast<u64*>(m.window(fake::window_base, list.size() * 8 + 8)));
        return call(operation, fake::window_base, list.size(), position);
    }
    static u64 alias(u32 index, u64 level) { return u64{index} * page_size + level; }
    const std::vector<u64> tree{alias(0, 1), alias(1, 0), alias(2, 0), alias(3, 4)};
    Tables child;
    u32 mapped = 0;
};

TEST_F(TableLists, PinATreeAndTakeItDown) {
    for (u32 every : {0u, 1u}) {
        m.yield_every = every;
        ASSERT_TRUE(lists(DOMUS_EXT_pin_tables, tree));
        for (u32 i = 0; i < 4; ++i)
            EXPECT_FALSE(entry::is_writable(Guest::at(t.l1, i))) << i;
        expect_sound({t.l4});
        EXPECT_FALSE(update_one(t.l1, 0, entry::make(child.l1, rw))) << "a table now";
        EXPECT_EQ(ext(MMUEXT_PIN_L4_TABLE, child.l4).error(), Err::Inval) << "pinned already";
        ASSERT_TRUE(lists(DOMUS_EXT_unpin_tables, tree));
        for (u32 i = 0; i < 4; ++i)
            EXPECT_TRUE(entry::is_writable(Guest::at(t.l1, i))) << i;
        expect_sound({t.l4});
        EXPECT_EQ(ext(MMUEXT_UNPIN_TABLE, child.l4).error(), Err::Inval) << "not pinned any more";
    }
}

TEST_F(TableLists, TheOrderDoesNotMatter) {
    const std::vector<u64> backwards(tree.rbegin(), tree.rend());
    ASSERT_TRUE(lists(DOMUS_EXT_pin_tables, backwards));
    expect_sound({t.l4});
    ASSERT_TRUE(lists(DOMUS_EXT_unpin_tables, tree));
    expect_sound({t.l4});
}

TEST_F(TableLists, WhatIsStillATableGetsNoWritableAlias) {
    ASSERT_TRUE(lists(DOMUS_EXT_pin_tables, tree));
    EXPECT_EQ(lists(DOMUS_EXT_unpin_tables, {alias(0, 1)}).error(), Err::Inval) << "the L2 refers to it";
    EXPECT_FALSE(entry::is_writable(Guest::at(t.l1, 0)));
    EXPECT_EQ(lists(DOMUS_EXT_unpin_tables, {alias(1, 0)}).error(), Err::Inval);
    EXPECT_EQ(lists(DOMUS_EXT_unpin_tables, tree, 4).error(), Err::Inval) << "second pass only";
    EXPECT_FALSE(entry::is_writable(Guest::at(t.l1, 3)));
    expect_sound({t.l4});
    ASSERT_TRUE(lists(DOMUS_EXT_unpin_tables, {alias(3, 4), alias(1, 0), alias(2, 0), alias(0, 0)}));
    expect_sound({t.l4});
}

TEST_F(TableLists, APageThatIsNoTableIsRefused) {
    const Mfn rubbish = g.frame();
    Guest::at(rubbish, 7) = entry::make(Mfn(3), rw); // maps what is not its own
    map(rubbish);
    EXPECT_EQ(lists(DOMUS_EXT_pin_tables, {alias(4, 1)}).error(), Err::Inval);
    EXPECT_EQ(lists(DOMUS_EXT_pin_tables, tree, 4).error(), Err::Inval) << "second pass only: the aliases are writable";
    EXPECT_EQ(lists(DOMUS_EXT_pin_tables, {alias(0, 5)}).error(), Err::Inval) << "no such level";
    EXPECT_EQ(lists(DOMUS_EXT_pin_tables, {alias(0, 8)}).error(), Err::Inval);
    EXPECT_EQ(lists(DOMUS_EXT_pin_tables, {alias(100, 1)}).error(), Err::Inval) << "nothing there";
    EXPECT_EQ(lists(DOMUS_EXT_pin_tables, {u64{0xffff800000000000} + 1}).error(), Err::Inval) << "the hypervisor's";
    EXPECT_EQ(lists(DOMUS_EXT_pin_tables, {u64{1} << 62 | 1}).error(), Err::Inval) << "no address";
    EXPECT_EQ(lists(DOMUS_EXT_unpin_tables, {alias(0, 1)}).error(), Err::Inval) << "not pinned";
    expect_sound({t.l4});
}

TEST_F(TableLists, ForeignFramesAreNotPinned) {
    Guest other = make_guest();
    as(other);
    const Tables theirs = build(other);
    as(g);
    Guest::at(t.l1, 9) = 0;
    EXPECT_FALSE(update_one(t.l1, 9, entry::make(theirs.l1, ro)));
    EXPECT_EQ(lists(DOMUS_EXT_pin_tables, {alias(9, 1)}).error(), Err::Inval);
    destroy(other);
    as(g);
}

TEST_F(TableLists, ListsThatCannotBeRead) {
    EXPECT_EQ(call(DOMUS_EXT_pin_tables, 0xffff800000000000, 1).error(), Err::Fault);
    EXPECT_EQ(call(DOMUS_EXT_pin_tables, ~u64{7}, 2).error(), Err::Fault);
    EXPECT_EQ(call(DOMUS_EXT_pin_tables, fake::window_base, 4097).error(), Err::Inval);
    EXPECT_EQ(call(DOMUS_EXT_unpin_tables, fake::window_base, ~u64{0}).error(), Err::Inval);
    EXPECT_TRUE(call(DOMUS_EXT_unpin_tables, fake::window_base, 0));
    EXPECT_TRUE(call(DOMUS_EXT_pin_tables, fake::window_base, 4, ~u64{0})) << "begins behind its end";
}

TEST_F(TableLists, RandomCallsLeaveEverythingSound) {
    std::mt19937_64 random(7);
    for (u32 step = 0; step < 3000; ++step) {
        m.yield_every = static_cast<u32>(random() % 3);
        const Mfn table = std::array{t.l1, child.l1, child.l2, t.l4}[random() % 4];
        const u32 index = static_cast<u32>(random() % 12);
        const u64 bits = std::array{u64{0}, entry::writable, no_execute, entry::present}[random() % 4];
        switch (random() % 4) {
        case 0:
            static_cast<void>(call(DOMUS_EXT_protect, place(table, index), random() % 9, bits, random() % 8));
            break;
        case 1:
            static_cast<void>(
                update_one(random() % 2 ? child.l1 : t.l1, 4 + index, // 0..3: aliases
                           random() % 2 ? 0 : entry::make(random() % 2 ? child.l2 : child.l1, random() % 8)));
            break;
        default: {
            std::vector<u64> list;
            for (u64 n = random() % 6; n > 0; --n)
                list.push_back(random() % 2 ? tree[random() % 4] : alias(static_cast<u32>(random() % 6), random() % 6));
            static_cast<void>(
                lists(random() % 2 ? DOMUS_EXT_pin_tables : DOMUS_EXT_unpin_tables, list, random() % 4 ? 0 : random()));
        }
        }
        if (step % 100 == 0)
            expect_sound({t.l4});
    }
}

TEST_F(Extension, WhatIsNotOfferedIsUnknown) {
    fill(1);
    set_extension_features(DOMUS_FEATURE_tables);
    EXPECT_EQ(call(DOMUS_EXT_protect, place(t.l1, 0), 1, entry::writable).error(), Err::NoSys);
    EXPECT_TRUE(call(DOMUS_EXT_pin_tables, fake::window_base, 0));
    set_extension_features(0);
    EXPECT_EQ(call(DOMUS_EXT_protect, place(t.l1, 0), 1, entry::writable).error(), Err::NoSys);
    EXPECT_EQ(call(DOMUS_EXT_pin_tables, fake::window_base, 0).error(), Err::NoSys);
    EXPECT_EQ(call(DOMUS_EXT_unpin_tables, fake::window_base, 0).error(), Err::NoSys);
    EXPECT_EQ(call(DOMUS_EXT_map, place(t.l1, 0), 0).error(), Err::NoSys);
    EXPECT_EQ(call(DOMUS_EXT_version, 0, 0).value(), 1) << "the hypercall itself is there";
    EXPECT_EQ(Guest::at(t.l1, 0), entry::make(frames[0], rw));
}

} // namespace
} // namespace domus::test
