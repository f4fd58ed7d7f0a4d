// References and uses of frames where they are one compare-and-swap, inline: for frame_table.cpp, which knows what to
// do where they are more, and for loops over runs of entries. Owner, locks: those of frame_table.cpp.
#pragma once

#include "hypervisor/core/frame_owner.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/log.hpp"

namespace domus::hv {

inline bool swap_type(FrameInfo& info, TypeWord& expected, TypeWord wanted) {
    return info.type.compare_exchange_weak(expected.raw, wanted.raw, std::memory_order_acq_rel,
                                           std::memory_order_acquire);
}

// One more general reference. False: the frame is not `owner`'s; nothing is held.
[[gnu::always_inline]] inline bool hold_frame(FrameInfo& info, Mfn mfn, const Domain& owner) {
    u64 now = info.refs.load(std::memory_order_acquire);
    do {
        if ((now & refs_mask) == 0 || (now & refs_mask) == refs_mask)
            return false;
        // The owner is set before the first reference and cleared after the last: with a count above zero it holds.
    } while (!info.refs.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel, std::memory_order_acquire));
    if (info.owner.load(std::memory_order_relaxed) == &owner) [[likely]]
        return true;
    put_frame(mfn);
    return false;
}

[[gnu::always_inline]] inline void let_frame_go(FrameInfo& info, Mfn mfn) {
    const u64 before = info.refs.fetch_sub(1, std::memory_order_acq_rel);
    assert_slow((before & refs_mask) != 0);
    if ((before & refs_mask) == 1) [[unlikely]]
        return_frame(mfn);
}

[[gnu::always_inline]] inline bool get_type_plainly(FrameInfo& info, FrameType want) {
    TypeWord now{info.type.load(std::memory_order_acquire)};
    while (now.is_plainly(want)) {
        if (swap_type(info, now, {now.raw + 1})) [[likely]]
            return true;
    }
    return !needs_validation(want) && now.is_plainly_unused(want) &&
           swap_type(info, now, TypeWord{}.with_type(want).with_count(1));
}

// The last use of a table is not one.
[[gnu::always_inline]] inline bool put_type_plainly(FrameInfo& info) {
    TypeWord now{info.type.load(std::memory_order_acquire)};
    while (!now.has(TypeWord::Locked) && (now.count() > 1 || !needs_validation(now.type()))) {
        assert_slow(now.count() != 0);
        if (swap_type(info, now, {now.raw - 1})) [[likely]] {
            if (now.count() == 1)
                note_stale_translations();
            return true;
        }
    }
    return false;
}

} // namespace domus::hv
