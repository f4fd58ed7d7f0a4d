// One entry of a page table in force: the checked way to change it. Every path goes through here: mmu_update,
// update_va_mapping, stray writes, grant mappings, validation. No lock: the caller holds a type reference of the table,
// which keeps its level; entries change by compare-and-swap, and whoever took an old value out gives its references
// back.
#pragma once

#include "hypervisor/core/frame_table.hpp"

namespace domus::hv {

struct Domain;
struct Vcpu;

// Whose frames an L1 entry may map.
struct DataOwner {
    Domain* domain; // nullptr: device frames only (DOMID_IO)
    bool devices;   // device frames too
};
DataOwner own_frames(Domain&);

// The references a present L1 entry stands for: a general one, and a writable one if it allows writing; none for
// device frames. Err::Inval: the rule is in the log.
Result<void> take_target(u64 l1_entry, const DataOwner&, const Domain& asking);
void drop_target(u64 l1_entry);

// The same for entries of L2..L4 (`level` is the table's). Err::Restart: the table below is being validated, call
// again.
Result<void> take_child(u64 entry, FrameType level, Domain& owner, const Domain& asking);
// Err::Restart: still the caller's, call again.
Result<void> drop_child(u64 entry);

enum class AccessBits : bool { Replace, Keep }; // Keep: accessed and dirty bits of the present entry stay

struct EntryWrite {
    Mfn table;
    u32 index;
    u64 value;
    AccessBits bits = AccessBits::Replace;
    const u64* expected = nullptr; // if set: only when the entry is exactly that, else Err::Again
};

// An entry of a table that was out of force: take the references of what the guest left there, give back those of
// `old`. What is to be stored; 0 if it is refused.
u64 settle_l1(u64 old, u64 asked, const DataOwner&, const Domain& asking);

Result<void> write_l1(const EntryWrite&, const DataOwner&, const Domain& asking);
// L2..L4 of `owner`'s. May leave vcpu.pv.unfinished_table behind (finish_table).
Result<void> write_upper(Vcpu&, const EntryWrite&, FrameType level, Domain& owner);

// A table whose references this vcpu has to give back: at once if that is quick, else later in parts.
void put_table(Vcpu&, Mfn);
// Go on with it. Err::Restart: not finished yet.
Result<void> finish_table(Vcpu&);

} // namespace domus::hv
