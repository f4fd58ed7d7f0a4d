// __HYPERVISOR_domctl: control operations on domains, as one table. Source: <xen/domctl.h>, interface version 0x15.
// Lock: Rank::Control around each operation, so that one control operation is at work at a time.
#include "hypervisor/core/domctl.hpp"

#include "hypervisor/core/domain_list.hpp"
#include "hypervisor/core/hypercalls_domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"
#include "hypervisor/core/teardown.hpp"

namespace domus::hv {
namespace {

constinit Spinlock control_lock{Rank::Control};

enum class Names : u8 { Domain, Nothing, DomainFrom }; // DomainFrom: the first domain of that number or higher

struct ControlOp : Operation<ControlHandler> {
    Names names = Names::Domain;
};

constexpr char for_hvm[] = "for hardware-virtualized guests";
constexpr char no_log_dirty[] = "no log-dirty mode: no migration";
constexpr char no_save_restore[] = "no save and restore";
constexpr char no_cache_allocation[] = "no cache monitoring or allocation";
constexpr char no_pass_through[] = "devices cannot be passed through";
constexpr char only_true[] = "EOPNOTSUPP where it would change anything: devices are dom0's alone, and all of them";

constexpr ControlOp control_ops[] = {
    {OFFERED(XEN_DOMCTL_createdomain, control::create_domain, Dom0), Names::Nothing},
    {OFFERED(XEN_DOMCTL_destroydomain, control::destroy_domain, Dom0)},
    {OFFERED(XEN_DOMCTL_pausedomain, control::pause_domain, Dom0)},
    {OFFERED(XEN_DOMCTL_unpausedomain, control::unpause_domain, Dom0)},
    {OFFERED(XEN_DOMCTL_getdomaininfo, control::get_domain_info, Dom0), Names::DomainFrom},
    {OFFERED(XEN_DOMCTL_setvcpuaffinity, control::set_vcpu_affinity, Dom0)},
    {REFUSED(XEN_DOMCTL_shadow_op, OpNotSupp, Dom0, no_log_dirty)},
    {OFFERED(XEN_DOMCTL_max_mem, control::max_memory, Dom0)},
    {OFFERED(XEN_DOMCTL_setvcpucontext, control::set_vcpu_context, Dom0)},
    {OFFERED(XEN_DOMCTL_getvcpucontext, control::get_vcpu_context, Dom0)},
    {OFFERED(XEN_DOMCTL_getvcpuinfo, control::get_vcpu_info, Dom0)},
    {OFFERED(XEN_DOMCTL_max_vcpus, control::max_vcpus, Dom0)},
    {OFFERED_WITH(XEN_DOMCTL_scheduler_op, control::scheduler, Dom0,
                  "weight and cap, as credit and credit2 have them")},
    {OFFERED(XEN_DOMCTL_setdomainhandle, control::set_handle, Dom0)},
    {OFFERED_WITH(XEN_DOMCTL_setdebugging, control::set_debugging, Dom0, "kept, no debugger reads it")},
    {OFFERED_WITH(XEN_DOMCTL_irq_permission, control::irq_permission, Dom0, only_true)},
    {OFFERED_WITH(XEN_DOMCTL_iomem_permission, control::memory_permission, Dom0, only_true)},
    {OFFERED_WITH(XEN_DOMCTL_ioport_permission, control::port_permission, Dom0, only_true)},
    {OFFERED(XEN_DOMCTL_hypercall_init, control::hypercall_page, Dom0)},
    {OFFERED(XEN_DOMCTL_settimeoffset, control::set_time_offset, Dom0)},
    {OFFERED(XEN_DOMCTL_getvcpuaffinity, control::get_vcpu_affinity, Dom0)},
    {OFFERED(XEN_DOMCTL_resumedomain, control::resume_domain, Dom0)},
    {REFUSED(XEN_DOMCTL_sendtrigger, NoSys, Dom0, for_hvm)},
    {REFUSED(XEN_DOMCTL_subscribe, NoSys, Dom0, "no save and restore")},
    {REFUSED(XEN_DOMCTL_gethvmcontext, NoSys, Dom0, for_hvm)},
    {REFUSED(XEN_DOMCTL_sethvmcontext, NoSys, Dom0, for_hvm)},
    {OFFERED_WITH(XEN_DOMCTL_set_address_size, control::set_address_size, Dom0, "64 bits only")},
    {OFFERED(XEN_DOMCTL_get_address_size, control::get_address_size, Dom0)},
    {REFUSED(XEN_DOMCTL_assign_device, NoDev, Dom0, no_pass_through)},
    {REFUSED(XEN_DOMCTL_bind_pt_irq, NoSys, Dom0, no_pass_through)},
    {REFUSED(XEN_DOMCTL_memory_mapping, NoSys, Dom0, for_hvm)},
    {REFUSED(XEN_DOMCTL_ioport_mapping, NoSys, Dom0, for_hvm)},
    {REFUSED(XEN_DOMCTL_set_ext_vcpucontext, NoSys, Dom0, no_save_restore)},
    {REFUSED(XEN_DOMCTL_get_ext_vcpucontext, NoSys, Dom0, no_save_restore)},
    {REFUSED(XEN_DOMCTL_test_assign_device, NoDev, Dom0, no_pass_through)},
    {REFUSED(XEN_DOMCTL_set_target, NoSys, Dom0, "no stub domains")},
    {REFUSED(XEN_DOMCTL_deassign_device, NoDev, Dom0, no_pass_through)},
    {REFUSED(XEN_DOMCTL_unbind_pt_irq, NoSys, Dom0, no_pass_through)},
    {REFUSED(XEN_DOMCTL_get_device_group, NoDev, Dom0, no_pass_through)},
    {REFUSED(XEN_DOMCTL_debug_op, NoSys, Dom0, "no debugger for guests")},
    {REFUSED(XEN_DOMCTL_gethvmcontext_partial, NoSys, Dom0, for_hvm)},
    {REFUSED(XEN_DOMCTL_vm_event_op, NoSys, Dom0, for_hvm)},
    {REFUSED(XEN_DOMCTL_mem_sharing_op, NoSys, Dom0, for_hvm)},
    {OFFERED(XEN_DOMCTL_gettscinfo, control::get_tsc_info, Dom0)},
    {OFFERED_WITH(XEN_DOMCTL_settscinfo, control::set_tsc_info, Dom0, "rdtsc always runs natively")},
    {OFFERED(XEN_DOMCTL_getpageframeinfo3, control::frame_types, Dom0)},
    {REFUSED(XEN_DOMCTL_setvcpuextstate, NoSys, Dom0, no_save_restore)},
    {REFUSED(XEN_DOMCTL_getvcpuextstate, NoSys, Dom0, no_save_restore)},
    {REFUSED(XEN_DOMCTL_set_access_required, NoSys, Dom0, for_hvm)},
    {REFUSED(XEN_DOMCTL_audit_p2m, NoSys, Dom0, for_hvm)},
    {OFFERED(XEN_DOMCTL_set_virq_handler, control::set_virq_handler, Dom0)},
    {REFUSED(XEN_DOMCTL_set_broken_page_p2m, NoSys, Dom0, for_hvm)},
    {OFFERED_WITH(XEN_DOMCTL_setnodeaffinity, control::node_affinity, Dom0, "one node")},
    {OFFERED_WITH(XEN_DOMCTL_getnodeaffinity, control::get_node_affinity, Dom0, "one node")},
    {OFFERED_WITH(XEN_DOMCTL_cacheflush, control::cache_flush, Dom0, "nothing to do on x86")},
    {REFUSED(XEN_DOMCTL_get_vcpu_msrs, NoSys, Dom0, no_save_restore)},
    {REFUSED(XEN_DOMCTL_set_vcpu_msrs, NoSys, Dom0, no_save_restore)},
    {REFUSED(XEN_DOMCTL_setvnumainfo, NoSys, Dom0, "no virtual NUMA")},
    {REFUSED(XEN_DOMCTL_psr_cmt_op, NoSys, Dom0, no_cache_allocation)},
    {REFUSED(XEN_DOMCTL_monitor_op, NoSys, Dom0, for_hvm)},
    {REFUSED(XEN_DOMCTL_psr_alloc, NoSys, Dom0, no_cache_allocation)},
    {REFUSED(XEN_DOMCTL_soft_reset, NoSys, Dom0, "no soft reset")},
    {REFUSED(XEN_DOMCTL_vuart_op, NoSys, Dom0, "for Arm")},
    {OFFERED_WITH(XEN_DOMCTL_get_cpu_policy, control::get_cpu_policy, Dom0, "one filter for every domain, so empty")},
    {OFFERED_WITH(XEN_DOMCTL_set_cpu_policy, control::set_cpu_policy, Dom0,
                  "accepted without effect: one filter for every domain")},
    {REFUSED(XEN_DOMCTL_vmtrace_op, NoSys, Dom0, for_hvm)},
    {REFUSED(XEN_DOMCTL_get_paging_mempool_size, OpNotSupp, Dom0, for_hvm)},
    {REFUSED(XEN_DOMCTL_set_paging_mempool_size, OpNotSupp, Dom0, for_hvm)},
    {REFUSED(XEN_DOMCTL_gdbsx_guestmemio, NoSys, Dom0, "no debugger for guests")},
    {REFUSED(XEN_DOMCTL_gdbsx_pausevcpu, NoSys, Dom0, "no debugger for guests")},
    {REFUSED(XEN_DOMCTL_gdbsx_unpausevcpu, NoSys, Dom0, "no debugger for guests")},
    {REFUSED(XEN_DOMCTL_gdbsx_domstatus, NoSys, Dom0, "no debugger for guests")},
};

DomainRef find_named(const ControlOp& known, Domain& caller, u16 id) {
    if (known.names == Names::DomainFrom)
        return first_domain_from(DomId(id));
    if (id == DOMID_SELF)
        id = caller.id.n;
    return find_domain(DomId(id));
}

Result<void> run(Call& call, GuestPtr<xen_domctl_t> operation) {
    xen_domctl_t op = TRY(copy_in(operation));
    if (op.interface_version != XEN_DOMCTL_INTERFACE_VERSION) {
        why(call.domain, "domctl interface version {x} is spoken, not {x}", u32{XEN_DOMCTL_INTERFACE_VERSION},
            op.interface_version);
        return Err::Access;
    }
    const ControlOp* known = find_operation(control_ops, op.cmd);
    if (!known) {
        why(call.domain, "domctl {} is not known", op.cmd);
        return Err::NoSys;
    }
    if (!known->offered()) {
        why(call.domain, "{} is not offered: {}", std::string_view(known->name), std::string_view(known->remark));
        return known->answer;
    }
    DomainRef target;
    if (known->names != Names::Nothing) {
        target = find_named(*known, call.domain, op.domain);
        if (!target)
            return Err::Srch;
    }
    Control control{call, op, target ? &*target : nullptr};
    const Result<void> done = [&] {
        LockHolder holder(control_lock);
        return known->run(control);
    }();
    // Some operations answer with the number that would have been right, and an error.
    if (control.answer)
        TRY(copy_out(operation, op));
    return done;
}

} // namespace

// Err::Perm: not privileged; Err::Access: another interface version; Err::Srch: no such domain; Err::NoSys: not
// offered.
Result<i64> domctl(Call& call, GuestPtr<xen_domctl_t> operation) {
    if (!call.domain.privileged)
        return Err::Perm;
    const Result<void> done = run(call, operation);
    reap_domains(); // its references are gone by now: a destroyed domain's last memory is free when the call returns
    TRY(done);
    return i64{0};
}

const OperationList control_operations(control_ops);

} // namespace domus::hv
