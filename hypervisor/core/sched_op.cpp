// __HYPERVISOR_sched_op: a guest's own word to the scheduler. Source: <xen/sched.h>. Lock: none of its own.
#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/hypercalls_domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"
#include "hypervisor/core/sched.hpp"

namespace domus::hv {
namespace {

constexpr u32 max_polled_ports = 128;
constexpr u64 ns_per_s = 1'000'000'000;

Result<i64> op_yield(Call&, GuestPtr<void>) {
    yield_current();
    return i64{0};
}

Result<i64> op_block(Call& call, GuestPtr<void>) {
    block(call.vcpu);
    return i64{0};
}

Result<i64> op_shutdown(Call& call, GuestPtr<void> argument) {
    const sched_shutdown_t request = TRY(copy_in(argument.as<sched_shutdown_t>()));
    shut_down_domain(call.domain, static_cast<u8>(request.reason));
    return i64{0};
}

Result<i64> op_shutdown_code(Call& call, GuestPtr<void> argument) {
    const sched_shutdown_t request = TRY(copy_in(argument.as<sched_shutdown_t>()));
    if (call.domain.latched_shutdown_code < 0)
        call.domain.latched_shutdown_code = static_cast<u8>(request.reason);
    return i64{0};
}

Result<i64> op_remote_shutdown(Call& call, GuestPtr<void> argument) {
    const sched_remote_shutdown_t request = TRY(copy_in(argument.as<sched_remote_shutdown_t>()));
    if (request.domain_id == DOMID_SELF)
        return Err::Srch;
    const DomainRef target = TRY(find_target(call.domain, request.domain_id));
    if (!call.domain.privileged)
        return Err::Perm;
    shut_down_domain(*target, static_cast<u8>(request.reason));
    return i64{0};
}

struct PolledPorts {
    u32 count = 0;
    std::array<evtchn_port_t, max_polled_ports> ports{};
};

// True: one of them is pending, or any unmasked event waits. Err::Inval: one of them is no port of the domain.
Result<bool> anything_pending(Vcpu& vcpu, const PolledPorts& polled) {
    bool any = has_pending_event(vcpu);
    for (u32 i = 0; i < polled.count; ++i)
        any |= TRY(vcpu.domain.events.is_pending(PortNo(polled.ports[i])));
    return any;
}

Result<i64> op_poll(Call& call, GuestPtr<void> argument) {
    const sched_poll_t request = TRY(copy_in(argument.as<sched_poll_t>()));
    if (request.nr_ports > max_polled_ports)
        return Err::Inval;
    PolledPorts polled;
    polled.count = request.nr_ports;
    TRY(copy_in_bytes(polled.ports.data(), guest_ptr(request.ports).address, polled.count * sizeof(evtchn_port_t)));
    Vcpu& vcpu = call.vcpu;
    if (TRY(anything_pending(vcpu, polled)))
        return i64{0};
    if (request.timeout != 0 && request.timeout <= arch::now().n)
        return i64{0};
    // First declare what it waits for, then look again: a sender sets pending first and then looks for pollers.
    vcpu.domain.pollers.fetch_add(1, std::memory_order_seq_cst);
    vcpu.poll_port.store(polled.count == 1 ? polled.ports[0] : ~u64{0}, std::memory_order_seq_cst);
    stop(vcpu, Stop::Blocked);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (const auto pending = anything_pending(vcpu, polled); !pending || pending.value()) {
        end_poll(vcpu);
        start(vcpu, Stop::Blocked);
        return i64{0};
    }
    if (request.timeout != 0)
        arm(vcpu.poll_timer, Nanoseconds(request.timeout));
    return i64{0};
}

void watchdog_fired(void* context) {
    Domain& domain = *static_cast<Domain*>(context);
    log(Level::Warning, "d{}: its watchdog's time is over", domain.id);
    shut_down_domain(domain, SHUTDOWN_watchdog);
}

// Setup (id 0), poke (timeout) and destroy (no timeout). Err::Inval: no such watchdog; Err::NoSpace: both are in use.
Result<i64> op_watchdog(Call& call, GuestPtr<void> argument) {
    const sched_watchdog_t request = TRY(copy_in(argument.as<sched_watchdog_t>()));
    Domain& domain = call.domain;
    const u64 deadline = arch::now().n + request.timeout * ns_per_s;
    u32 index = request.id - 1;
    if (request.id == 0) {
        if (request.timeout == 0)
            return Err::Inval;
        for (index = 0; index < domain.watchdogs.size() && (domain.watchdogs_in_use >> index) & 1; ++index)
            continue;
        if (index == domain.watchdogs.size())
            return Err::NoSpace;
        domain.watchdogs_in_use |= 1u << index;
    }
    if (index >= domain.watchdogs.size() || ((domain.watchdogs_in_use >> index) & 1) == 0)
        return Err::Inval;
    Timer& timer = domain.watchdogs[index];
    if (request.timeout == 0) {
        disarm(timer);
        domain.watchdogs_in_use &= ~(1u << index);
        return i64{0};
    }
    timer.handler = watchdog_fired;
    timer.context = &domain;
    arm(timer, Nanoseconds(deadline));
    return request.id == 0 ? i64{index} + 1 : i64{0};
}

// dom0 binds the calling vcpu to one CPU for a while (firmware calls). Err::Busy: it is bound already.
Result<i64> op_pin_override(Call& call, GuestPtr<void> argument) {
    const sched_pin_override_t request = TRY(copy_in(argument.as<sched_pin_override_t>()));
    SchedUnit& unit = call.vcpu.sched;
    if (request.pcpu < 0) {
        if (unit.saved_affinity == 0)
            return Err::Inval;
        TRY(set_affinity(call.vcpu, unit.saved_affinity));
        unit.saved_affinity = 0;
        return i64{0};
    }
    if (static_cast<u32>(request.pcpu) >= arch::max_cpus)
        return Err::Inval;
    if (unit.saved_affinity != 0)
        return Err::Busy;
    const arch::CpuMask before = unit.affinity;
    TRY(set_affinity(call.vcpu, arch::CpuMask{1} << request.pcpu));
    unit.saved_affinity = before;
    return i64{0};
}

constexpr Operation<Result<i64> (*)(Call&, GuestPtr<void>)> sched_ops[] = {
    OFFERED(SCHEDOP_yield, op_yield, Guest),
    OFFERED(SCHEDOP_block, op_block, Guest),
    OFFERED(SCHEDOP_shutdown, op_shutdown, Guest),
    OFFERED(SCHEDOP_poll, op_poll, Guest),
    OFFERED_WITH(SCHEDOP_remote_shutdown, op_remote_shutdown, Guest, "EPERM but for dom0"),
    OFFERED(SCHEDOP_shutdown_code, op_shutdown_code, Guest),
    OFFERED(SCHEDOP_watchdog, op_watchdog, Guest),
    OFFERED(SCHEDOP_pin_override, op_pin_override, Dom0),
};

} // namespace

Result<i64> sched_op(Call& call, u32 command, GuestPtr<void> argument) {
    const auto* row = find_operation(sched_ops, command);
    if (!row)
        return Err::NoSys;
    TRY(admit(*row, call.domain.privileged));
    return row->run(call, argument);
}

const OperationList scheduler_operations(sched_ops);

// The call as it was before 3.0.2: shutdown's reason comes in the register.
Result<i64> sched_op_compat(Call& call, u32 command, u64 argument) {
    if (command == SCHEDOP_yield || command == SCHEDOP_block)
        return sched_op(call, command, GuestPtr<void>{});
    if (command != SCHEDOP_shutdown)
        return Err::NoSys;
    shut_down_domain(call.domain, static_cast<u8>(argument));
    return i64{0};
}

} // namespace domus::hv
