// A superpage: an entry of an L2 that maps 2 MiB of the domain's own RAM. It stands for exactly the references that 512
// entries of an L1 with the same rights would stand for, one by one on each frame, and for nothing else: there is no
// count for the block as a whole that could disagree with those of its frames (docs/memory.md). Offered as the feature
// DOMUS_FEATURE_superpages; where it is not, no table in force has one. No lock, no state.
#pragma once

#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/pv/page_entry.hpp"

namespace domus::hv {

struct Domain;

inline constexpr u32 superpage_frames = 512;

// Of a present entry above L1 (in an L1 that bit is a cache attribute). In a table in force only an L2 has them.
constexpr bool is_superpage(u64 upper_entry) {
    return (upper_entry & entry::large) != 0;
}

// May `level` hold it at all, is it aligned and free of cache attributes? nullptr, or the rule that refuses it.
const char* superpage_refusal(u64 value, FrameType level);

// The references of all frames, or of none: whoever refuses is the answer. Err::Inval: not the domain's, or one is in
// use as a table and the entry allows writing; Err::Restart never.
Result<void> take_superpage(u64 value, const Domain& owner);
void drop_superpage(u64 value);

// The same frames with other rights: what giving or taking away the right to write means for each.
void drop_superpage_writing(u64 value);

} // namespace domus::hv
