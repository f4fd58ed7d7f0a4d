// Where the guest kernel wants to be entered: trap table, callbacks, kernel stack. Owner: the calling vcpu.
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"
#include "hypervisor/pv/hypercalls_pv.hpp"

namespace domus::hv {
namespace {

// An entry point must be an address the guest may name; IRETQ would only find out later.
Result<void> judge_entry(Domain& d, u64 address) {
    if (arch::is_guest_range(Vaddr(address), 1))
        return {};
    why(d, "entry point {x} is not a guest address", address);
    return Err::Inval;
}

Result<void> register_callback(Vcpu& v, const callback_register_t& c) {
    TRY(judge_entry(v.domain, c.address));
    const bool masks = c.flags & CALLBACKF_mask_events;
    switch (c.type) {
    case CALLBACKTYPE_event:
        v.pv.event_entry = c.address;
        return {};
    case CALLBACKTYPE_failsafe:
        v.pv.failsafe_entry = c.address;
        v.pv.failsafe_masks_events = masks;
        return {};
    case CALLBACKTYPE_syscall:
        v.pv.syscall_entry = c.address;
        v.pv.syscall_masks_events = masks;
        return {};
    case CALLBACKTYPE_sysenter:
        v.pv.sysenter_entry = c.address;
        v.pv.sysenter_masks_events = masks;
        return {};
    case CALLBACKTYPE_syscall32:
        v.pv.syscall32_entry = c.address;
        v.pv.syscall32_masks_events = masks;
        return {};
    case CALLBACKTYPE_nmi:
        v.pv.nmi_entry = c.address;
        return {};
    default:
        return Err::NoSys;
    }
}

Result<void> unregister_callback(Vcpu& v, u16 type) {
    switch (type) {
    case CALLBACKTYPE_event:
    case CALLBACKTYPE_failsafe:
    case CALLBACKTYPE_syscall:
    case CALLBACKTYPE_sysenter:
        return Err::Inval; // as on Xen: these must exist
    case CALLBACKTYPE_nmi:
        v.pv.nmi_entry = 0;
        return {};
    default:
        return Err::NoSys;
    }
}

using Handler = Result<void> (*)(Call&, GuestPtr<void>);

Result<void> op_register(Call& call, GuestPtr<void> argument) {
    return register_callback(call.vcpu, TRY(copy_in(argument.as<callback_register_t>())));
}
Result<void> op_unregister(Call& call, GuestPtr<void> argument) {
    return unregister_callback(call.vcpu, TRY(copy_in(argument.as<callback_unregister_t>())).type);
}

constexpr Operation<Handler> callback_ops[] = {
    OFFERED(CALLBACKOP_register, op_register, Guest),
    OFFERED(CALLBACKOP_unregister, op_unregister, Guest),
};

Result<void> nmi_register(Call& call, GuestPtr<void> argument) {
    const auto request = TRY(copy_in(argument.as<xennmi_callback_t>()));
    if (call.vcpu.id.n != 0)
        return Err::Inval;
    TRY(judge_entry(call.domain, request.handler_address));
    call.vcpu.pv.nmi_entry = request.handler_address;
    return {};
}
Result<void> nmi_unregister(Call& call, GuestPtr<void>) {
    call.vcpu.pv.nmi_entry = 0;
    return {};
}

constexpr Operation<Handler> nmi_ops[] = {
    OFFERED_WITH(XENNMI_register_callback, nmi_register, Guest, "for vcpu 0"),
    OFFERED(XENNMI_unregister_callback, nmi_unregister, Guest),
};

template <usize N>
Result<i64> run(const Operation<Handler> (&rows)[N], Call& call, u32 command, GuestPtr<void> argument) {
    const auto* row = find_operation(rows, command);
    if (!row)
        return Err::NoSys;
    TRY(row->run(call, argument));
    return i64{0};
}

} // namespace

const OperationList callback_operations(callback_ops);
const OperationList nmi_operations(nmi_ops);

Result<i64> callback_op(Call& call, i32 command, GuestPtr<void> argument) {
    return run(callback_ops, call, static_cast<u32>(command), argument);
}
Result<i64> nmi_op(Call& call, u32 command, GuestPtr<void> argument) {
    return run(nmi_ops, call, command, argument);
}

Result<void> set_callbacks(Call& call, u64 event, u64 failsafe, u64 syscall) {
    for (u64 address : {event, failsafe, syscall})
        TRY(judge_entry(call.domain, address));
    call.vcpu.pv.event_entry = event;
    call.vcpu.pv.failsafe_entry = failsafe;
    call.vcpu.pv.syscall_entry = syscall;
    return {};
}

Result<void> set_trap_table(Call& call, GuestPtr<trap_info_t> table) {
    if (table.is_null()) {
        call.vcpu.pv.traps = {};
        return {};
    }
    for (u32 i = 0; i <= 256; ++i) { // at most 256 vectors and the end mark
        const trap_info_t t = TRY(copy_in(table, i));
        if (t.address == 0)
            return {};
        TRY(judge_entry(call.domain, t.address));
        call.vcpu.pv.traps[t.vector] = t;
    }
    return {};
}

Result<void> stack_switch(Call& call, u64 ss, u64 sp) {
    call.vcpu.pv.kernel_ss = ss | 3;
    call.vcpu.pv.kernel_sp = sp; // judged when a frame is pushed there
    return {};
}

Result<void> fpu_taskswitch(Call&, i32 set) {
    arch::set_task_switched(set != 0);
    return {};
}

} // namespace domus::hv
