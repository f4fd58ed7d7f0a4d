// Whose a frame is: the internals between core/frame_table.cpp and core/frame_owner.cpp.
#pragma once

#include "hypervisor/core/frame_table.hpp"

namespace domus::hv {

inline constexpr u32 table_entries = 512;

// The last reference is gone: take the frame from its owner's list and give it back to the free frames.
void return_frame(Mfn);

// Teardown: the first frame of the dying domain's list that was not dealt with yet, Mfn{0}: none is left. And: deal
// with it (the caller holds a general reference): its allocation reference goes; if others' references keep it, it
// moves to the list's end.
Mfn next_to_relinquish(Domain&);
void relinquish(Domain&, Mfn);

} // namespace domus::hv
