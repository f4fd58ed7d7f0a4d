// Between the parts of memory_op: one sub-operation, one function, one row in core/memory_op.cpp.
#pragma once

#include "hypervisor/core/domain.hpp"

namespace domus::hv {

// One memory_op in progress.
struct MemoryCall {
    Call& call;
    u32 command; // XENMEM_*
    u64 done;    // extents done by earlier runs
    GuestPtr<void> argument;

    Domain& caller() const { return call.domain; }
    // Go on after `done` extents.
    Err later(u64 extents_done) const;
};

Result<i64> populate_physmap(MemoryCall&);
Result<i64> increase_reservation(MemoryCall&);
Result<i64> decrease_reservation(MemoryCall&);
Result<i64> exchange_memory(MemoryCall&);
Result<i64> claim_pages(MemoryCall&);

Result<i64> maximum_ram_page(MemoryCall&);
Result<i64> current_reservation(MemoryCall&);
Result<i64> maximum_reservation(MemoryCall&);
Result<i64> maximum_gpfn(MemoryCall&);
Result<i64> machphys_mapping(MemoryCall&);

Result<i64> memory_map(MemoryCall&);
Result<i64> machine_memory_map(MemoryCall&);
Result<i64> set_memory_map(MemoryCall&);
void free_memory_map(Domain&); // teardown

Result<i64> acquire_resource(MemoryCall&);

// How large an extent the caller may ask for, as an order. ISOLATION, memory operations: limits.
u32 largest_order(const Domain& caller);

} // namespace domus::hv
