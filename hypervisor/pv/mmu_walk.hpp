// Finding the L1 entry behind a guest address by reading its page tables through the direct map. The tables are in
// force (reached from a root that holds a type reference), so what is read is valid; it may be changed by another vcpu
// in the same moment, so whoever writes takes a type reference of the L1 table and checks it (open_l1). No lock.
#pragma once

#include "hypervisor/base/types.hpp"
#include "hypervisor/core/frame_table.hpp"

#include <optional>

namespace domus::hv {

struct Domain;

struct EntryPlace {
    Mfn table;
    u32 index;
};

// What a walk saw: the L1 entry's place, its value, and which rights all levels grant together.
struct Walk {
    EntryPlace l1;
    u64 value;
    bool upper_writable;
    bool upper_no_execute;
};

// `root` is a CR3 value. Nothing if a level above L1 is absent, the address is mapped by a superpage or is not the
// guest's to name.
std::optional<Walk> walk(u64 root, Vaddr);

// The L2 entry on that way.
std::optional<EntryPlace> walk_to_l2(u64 root, Vaddr);

// A reference and a use of a frame that is a table of that level in force, `owner`'s; put_frame_and_type gives them
// back.
bool hold_table(Mfn, FrameType level, const Domain& owner);

// The L1 table of `place`, held as an L1 table of `owner`'s until close_l1. Err::Inval: it is not one (any more).
Result<void> open_l1(const EntryPlace&, const Domain& owner);
void close_l1(const EntryPlace&);

} // namespace domus::hv
