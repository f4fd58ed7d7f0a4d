// Free frames: a buddy allocator over the frame table. Owner: this file. Lock: Rank::Frames.
// Called by everything that needs memory; never by interrupts.
//
// A free block is known by its first frame, whose type word is Free with the block's order; neighbours in the list of
// its order are FrameInfo::next and previous. Two zones, below and above 4 GiB, so that frames for 32-bit devices last.
// ISOLATION, information leaks: a frame that was used is marked Dirty, and zeroed before a domain gets it: by a CPU
// that has nothing else to do, or else when it is allocated.
#include "hypervisor/core/frames.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/base/guarded.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/log.hpp"

#include <array>

namespace domus::hv {
namespace {

constexpr u64 zone_boundary = u64{1} << (32 - page_shift);

struct FreeFrames {
    std::array<std::array<u32, max_order + 1>, 2> heads{}; // [zone][order], 0: none; frame 0 is never free
    u64 free = 0;
    u64 claimed = 0; // of those free, promised to somebody; never more than `free`
    u64 total = 0;
    u64 dirty = 0;    // of those free, how many a CPU without work still has to zero
    u64 scrubbed = 0; // where it looks next; once round is enough for all of them
};

constinit Guarded<FreeFrames, Rank::Frames> free_list;

constexpr usize zone_of(u64 frame) {
    return frame < zone_boundary ? 0 : 1;
}

bool is_dirty(u64 frame) {
    return TypeWord{frame_info(Mfn(frame)).type.load(std::memory_order_relaxed)}.has(TypeWord::Dirty);
}

u64 count_dirty(u64 first, u32 order) {
    u64 found = 0;
    for (u64 i = 0; i < u64{1} << order; ++i)
        found += is_dirty(first + i);
    return found;
}

void push(FreeFrames& all, u64 first, u32 order) {
    FrameInfo& info = frame_info(Mfn(first));
    u32& head = all.heads[zone_of(first)][order];
    const TypeWord now{info.type.load(std::memory_order_relaxed)};
    info.type.store(now.with(TypeWord::Free).with_progress(order).raw, std::memory_order_relaxed);
    info.previous = 0;
    info.next = head;
    if (head != 0)
        frame_info(Mfn(head)).previous = static_cast<u32>(first);
    head = static_cast<u32>(first);
}

void remove(FreeFrames& all, u64 first, u32 order) {
    FrameInfo& info = frame_info(Mfn(first));
    if (info.previous != 0)
        frame_info(Mfn(info.previous)).next = info.next;
    else
        all.heads[zone_of(first)][order] = info.next;
    if (info.next != 0)
        frame_info(Mfn(info.next)).previous = info.previous;
    info.next = info.previous = 0;
    const TypeWord now{info.type.load(std::memory_order_relaxed)};
    info.type.store(now.without(TypeWord::Free).with_progress(0).raw, std::memory_order_relaxed);
}

bool is_free_block(u64 first, u32 order) {
    if (first == 0 || first >= arch::frame_limit())
        return false;
    const TypeWord word{frame_info(Mfn(first)).type.load(std::memory_order_relaxed)};
    return word.has(TypeWord::Free) && word.progress() == order;
}

// The end of the free block that this frame lies in; the frame itself if it lies in none.
u64 end_of_free_block(u64 frame) {
    for (u32 order = 0; order <= max_order; ++order) {
        const u64 first = frame & ~((u64{1} << order) - 1);
        if (is_free_block(first, order))
            return first + (u64{1} << order);
    }
    return frame;
}

void insert(FreeFrames& all, u64 first, u32 order) {
    all.free += u64{1} << order;
    while (order < max_order) {
        const u64 buddy = first ^ (u64{1} << order);
        if (!is_free_block(buddy, order))
            break;
        remove(all, buddy, order);
        first = first < buddy ? first : buddy;
        ++order;
    }
    push(all, first, order);
}

// A free block of at least `order` that ends at or below frame `limit`; 0: none.
u64 find_block(FreeFrames& all, usize zone, u32 order, u64 limit, u32& found_order) {
    for (found_order = order; found_order <= max_order; ++found_order) {
        for (u64 at = all.heads[zone][found_order]; at != 0; at = frame_info(Mfn(at)).next) {
            if (at + (u64{1} << order) <= limit)
                return at;
        }
    }
    return 0;
}

u64 take_block(u32 order, u64 limit, u64 of_claim) {
    return free_list.with([&](FreeFrames& all) -> u64 {
        if (all.free - all.claimed + of_claim < u64{1} << order)
            return 0;
        u32 found_order = 0;
        u64 first = limit > zone_boundary ? find_block(all, 1, order, limit, found_order) : 0;
        if (first == 0)
            first = find_block(all, 0, order, limit, found_order);
        if (first == 0)
            return 0;
        remove(all, first, found_order);
        while (found_order > order) { // give back the upper halves
            --found_order;
            push(all, first + (u64{1} << found_order), found_order);
        }
        all.free -= u64{1} << order;
        all.claimed -= of_claim;
        if (all.dirty != 0)
            all.dirty -= count_dirty(first, order);
        return first;
    });
}

} // namespace

void add_free_frames(Mfn start, Mfn end) {
    u64 at = start.n == 0 ? 1 : start.n;
    const u64 stop = end.n < arch::frame_limit() ? end.n : arch::frame_limit();
    while (at < stop) {
        u32 order = 0;
        while (order < max_order && (at & ((u64{2} << order) - 1)) == 0 && at + (u64{2} << order) <= stop)
            ++order;
        free_list.with([&](FreeFrames& all) {
            insert(all, at, order);
            all.total += u64{1} << order;
        });
        at += u64{1} << order;
    }
}

void mark_free_frames_dirty() {
    free_list.with([](FreeFrames& all) {
        all.dirty = all.free;
        for (const auto& zone : all.heads) {
            for (u32 order = 0; order <= max_order; ++order) {
                for (u64 first = zone[order]; first != 0; first = frame_info(Mfn(first)).next) {
                    for (u64 i = 0; i < u64{1} << order; ++i)
                        frame_info(Mfn(first + i)).type.fetch_or(TypeWord::Dirty, std::memory_order_relaxed);
                }
            }
        }
    });
}

Result<Mfn> allocate_frames(u32 order) {
    const Mfn first = TRY(allocate_frames_below(order, 64));
    for (u64 i = 0; i < u64{1} << order; ++i)
        arch::zero_frame(first + i);
    return first;
}

Result<Mfn> allocate_frames_below(u32 order, u32 address_bits) {
    return allocate_claimed_frames(order, address_bits, 0);
}

Result<Mfn> allocate_claimed_frames(u32 order, u32 address_bits, u64 of_claim) {
    if (order > max_order)
        return Err::NoMem;
    const u64 limit = address_bits >= 64           ? ~u64{0}
                      : address_bits <= page_shift ? 0
                                                   : u64{1} << (address_bits - page_shift);
    const u64 first = take_block(order, limit, of_claim);
    if (first == 0)
        return Err::NoMem;
    // ISOLATION, TLB: whoever had the frame before may hold translations of it still; the hypervisor's own objects are
    // no less in danger than another domain's memory. Before the scrubbing, so that nothing is written after it.
    flush_stale_translations();
    for (u64 i = 0; i < u64{1} << order; ++i) {
        std::atomic<u64>& word = frame_info(Mfn(first + i)).type;
        if (TypeWord{word.load(std::memory_order_relaxed)}.has(TypeWord::Dirty))
            arch::zero_frame(Mfn(first + i));
        word.store(0, std::memory_order_relaxed);
    }
    return Mfn(first);
}

void free_frames(Mfn first, u32 order) {
    assert_slow(order <= max_order && first.n != 0 && first.n + (u64{1} << order) <= arch::frame_limit());
    assert_slow(!TypeWord{frame_info(first).type.load()}.has(TypeWord::Free));
    for (u64 i = 0; i < u64{1} << order; ++i)
        frame_info(first + i).type.store(TypeWord{}.with(TypeWord::Dirty).raw, std::memory_order_relaxed);
    free_list.with([&](FreeFrames& all) {
        insert(all, first.n, order);
        all.dirty += u64{1} << order;
    });
}

// Under the lock, so that nobody can allocate what is being zeroed; therefore few frames at a time.
bool scrub_free_frames() {
    constexpr u32 looked_at = 256, zeroed = 8;
    flush_stale_translations(); // or somebody could still write to what is clean from here on
    return free_list.with([](FreeFrames& all) {
        if (translations_are_stale()) // another CPU gave something back meanwhile
            return all.dirty != 0;
        u64 end = all.scrubbed; // of the free block that is being looked through
        for (u32 look = 0, done = 0; look < looked_at && done < zeroed && all.dirty != 0; ++look) {
            if (all.scrubbed >= arch::frame_limit())
                all.scrubbed = end = 0;
            if (all.scrubbed >= end)
                end = end_of_free_block(all.scrubbed);
            if (all.scrubbed < end && is_dirty(all.scrubbed)) {
                arch::zero_frame(Mfn(all.scrubbed));
                frame_info(Mfn(all.scrubbed)).type.fetch_and(~u64{TypeWord::Dirty}, std::memory_order_relaxed);
                --all.dirty;
                ++done;
            }
            ++all.scrubbed;
        }
        return all.dirty != 0;
    });
}

Result<void> claim_frames(u64 count) {
    return free_list.with([&](FreeFrames& all) -> Result<void> {
        if (count > all.free - all.claimed)
            return Err::NoMem;
        all.claimed += count;
        return {};
    });
}

void unclaim_frames(u64 count) {
    free_list.with([&](FreeFrames& all) {
        assert_slow(count <= all.claimed);
        all.claimed -= count;
    });
}

u64 claimed_frame_count() {
    return free_list.with([](FreeFrames& all) { return all.claimed; });
}

u64 free_frame_count() {
    return free_list.with([](FreeFrames& all) { return all.free; });
}

u64 total_frame_count() {
    return free_list.with([](FreeFrames& all) { return all.total; });
}

} // namespace domus::hv
