// memory_op: the table of its sub-operations. Source: <xen/memory.h>. Locks: those of the parts.
#include "hypervisor/core/memory_op.hpp"

#include "hypervisor/core/hypercalls_memory.hpp"
#include "hypervisor/core/operation_lists.hpp"

namespace domus::hv {
namespace {

constexpr u64 extent_shift = 6; // Xen's: a command has 6 bits, the extents done lie above

Result<i64> nothing_is_shared(MemoryCall&) {
    return i64{0};
}

constexpr char no_physmap[] = "PV guests have no physmap of the hypervisor's that could be changed";
constexpr char nothing_mappable[] = "nothing of the hypervisor's is mappable (DOMID_XEN)";
constexpr char for_hvm[] = "for hardware-virtualized guests";

constexpr Operation<Result<i64> (*)(MemoryCall&)> rows[] = {
    OFFERED(XENMEM_increase_reservation, increase_reservation, Guest),
    OFFERED(XENMEM_decrease_reservation, decrease_reservation, Guest),
    OFFERED(XENMEM_populate_physmap, populate_physmap, Guest),
    OFFERED(XENMEM_maximum_ram_page, maximum_ram_page, Guest),
    OFFERED(XENMEM_current_reservation, current_reservation, Guest),
    OFFERED(XENMEM_maximum_reservation, maximum_reservation, Guest),
    REFUSED(XENMEM_machphys_mfn_list, NoSys, Dom0, nothing_mappable),
    REFUSED(XENMEM_add_to_physmap, Access, Guest, no_physmap),
    OFFERED(XENMEM_memory_map, memory_map, Guest),
    OFFERED(XENMEM_machine_memory_map, machine_memory_map, Dom0),
    OFFERED(XENMEM_exchange, exchange_memory, Guest),
    OFFERED(XENMEM_machphys_mapping, machphys_mapping, Guest),
    OFFERED(XENMEM_set_memory_map, set_memory_map, Guest),
    OFFERED(XENMEM_maximum_gpfn, maximum_gpfn, Guest),
    REFUSED(XENMEM_remove_from_physmap, Access, Guest, no_physmap),
    REFUSED(XENMEM_set_pod_target, Inval, Dom0, for_hvm),
    REFUSED(XENMEM_get_pod_target, Inval, Dom0, for_hvm),
    OFFERED_WITH(XENMEM_get_sharing_freed_pages, nothing_is_shared, Guest, "0: no pages are shared"),
    OFFERED_WITH(XENMEM_get_sharing_shared_pages, nothing_is_shared, Guest, "0: no pages are shared"),
    REFUSED(XENMEM_paging_op, NoSys, Dom0, for_hvm),
    REFUSED(XENMEM_access_op, NoSys, Dom0, for_hvm),
    REFUSED(XENMEM_sharing_op, NoSys, Dom0, for_hvm),
    REFUSED(XENMEM_add_to_physmap_batch, Access, Guest, no_physmap),
    OFFERED(XENMEM_claim_pages, claim_pages, Dom0),
    REFUSED(XENMEM_machphys_compat_mfn_list, NoSys, Dom0, "no 32-bit guests"),
    REFUSED(XENMEM_get_vnumainfo, OpNotSupp, Guest, "no virtual NUMA"),
    REFUSED(XENMEM_reserved_device_memory_map, NoSys, Dom0, "no I/O MMU"),
    OFFERED_WITH(XENMEM_acquire_resource, acquire_resource, Dom0,
                 "grant tables only: device models and traces belong to hardware-virtualized guests"),
};

} // namespace

Err MemoryCall::later(u64 extents_done) const {
    return call.resume_later(command | extents_done << extent_shift, argument.address);
}

u32 largest_order(const Domain& caller) {
    return caller.privileged ? 18 : 9;
}

Result<i64> memory_op(Call& call, u64 raw_command, GuestPtr<void> argument) {
    MemoryCall memory{call, static_cast<u32>(raw_command & ((1 << extent_shift) - 1)), raw_command >> extent_shift,
                      argument};
    const auto* row = find_operation(rows, memory.command);
    if (!row)
        return Err::NoSys;
    TRY(admit(*row, call.domain.privileged));
    return row->run(memory);
}

const OperationList memory_operations(rows);

} // namespace domus::hv
