// The references that one mapping of a frame of RAM stands for, whatever entry it is in (an L1's, or an L2's of 2 MiB,
// which maps 512): a general one, and a use as Writable if it allows writing. Inline, for loops over runs of frames.
// Owner, locks: those of core/frame_table.hpp.
#pragma once

#include "hypervisor/core/frame_plain.hpp"

namespace domus::hv {

enum class Mapped : u8 {
    Yes,
    NotOwned,
    InUse, // as a page table or descriptor table, and it was to be written
};

[[gnu::always_inline]] inline Mapped take_mapped(FrameInfo& info, Mfn mfn, const Domain& owner, bool writable) {
    if (!hold_frame(info, mfn, owner)) [[unlikely]]
        return Mapped::NotOwned;
    if (!writable || get_type_plainly(info, FrameType::Writable) || get_type(mfn, FrameType::Writable)) [[likely]]
        return Mapped::Yes;
    let_frame_go(info, mfn);
    return Mapped::InUse;
}

// Writing alone is taken away.
[[gnu::always_inline]] inline void drop_writing(FrameInfo& info, Mfn mfn) {
    if (!put_type_plainly(info)) [[unlikely]]
        put_type(mfn);
}

[[gnu::always_inline]] inline void drop_mapped(FrameInfo& info, Mfn mfn, bool writable) {
    if (writable)
        drop_writing(info, mfn);
    let_frame_go(info, mfn);
}

} // namespace domus::hv
