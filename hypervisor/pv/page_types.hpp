// Page types: what makes a frame fit to be a page table or descriptor table in force, pinning, and who may do so.
// The frame table (core/frame_table.hpp) keeps counts; this part knows what the contents mean.
#pragma once

#include "hypervisor/core/frame_table.hpp"

namespace domus::hv {

struct Domain;
struct Vcpu;

// Start-up and domain builders: validate a table and pin it, to the end. Err::Inval: the log names the entry.
Result<void> pin_table(Domain&, Mfn, FrameType level);

// MMUEXT_PIN_*: keep a table validated although no root or entry refers to it. Err::Inval, Err::Restart (call again).
Result<void> pin(Domain& owner, Mfn, FrameType level);
// MMUEXT_UNPIN_TABLE. Err::Inval: not pinned. What remains to be taken down may stay in vcpu.pv.unfinished_table.
Result<void> unpin(Vcpu&, Domain& owner, Mfn);
// The same for teardown: takes the pin away and says whether there was one; the references are then the caller's.
bool take_pin(Mfn);

// A segment descriptor as a guest may load it: what is stored for it, or Err::Inval. Present system descriptors (gates,
// task states, LDTs) are refused, code and data get ring 3, so that none reaches the hypervisor's privilege.
Result<u64> stored_descriptor(u64 asked);

} // namespace domus::hv
