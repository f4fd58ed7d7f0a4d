// __HYPERVISOR_vcpu_op: a domain manages its own vcpus. Source: <xen/vcpu.h>. Lock: none of its own; set_guest_context
// runs on vcpus that are down.
#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/guest_context.hpp"
#include "hypervisor/core/hypercalls_domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/time.hpp"
#include "hypervisor/core/vcpu_info.hpp"

#include <bit>

namespace domus::hv {
namespace {

constexpr u64 shortest_period = 1'000'000;   // 1 ms
constexpr u64 longest_period = u64{1} << 57; // far from overflow when added to the system time

bool is_down(const Vcpu& vcpu) {
    return (vcpu.sched.stops.load(std::memory_order_acquire) & bit_of(Stop::Down)) != 0;
}

// ISOLATION, vcpu operations: initialise once, and never a vcpu that may run.
Result<i64> op_initialise(Call&, Vcpu& vcpu, GuestPtr<void> argument) {
    if (vcpu.info == &unregistered_vcpu_info) {
        why(vcpu.domain, "vcpu {} has no vcpu_info yet", vcpu.id);
        return Err::Inval;
    }
    if (vcpu.initialised)
        return Err::Exist;
    if (!is_down(vcpu))
        return Err::Inval;
    auto* context = make<vcpu_guest_context_t>();
    if (!context)
        return Err::NoMem;
    Result<void> done = copy_in_bytes(context, argument.address, sizeof *context);
    if (done)
        done = Result<void>(set_guest_context(vcpu, *context));
    destroy(context);
    TRY(done);
    vcpu.initialised = true;
    return i64{0};
}

Result<i64> op_up(Call&, Vcpu& vcpu, GuestPtr<void>) {
    if (!vcpu.initialised)
        return Err::Inval;
    start(vcpu, Stop::Down);
    return i64{0};
}

// The last one that goes down takes the domain with it.
Result<i64> op_down(Call&, Vcpu& vcpu, GuestPtr<void>) {
    bool others = false;
    for (u32 i = 0; i < vcpu.domain.max_vcpus; ++i) {
        const Vcpu* other = vcpu.domain.vcpus[i];
        others |= other && other != &vcpu && !is_down(*other);
    }
    if (others)
        stop(vcpu, Stop::Down);
    else
        shut_down_domain(vcpu.domain, SHUTDOWN_poweroff);
    return i64{0};
}

Result<i64> op_is_up(Call&, Vcpu& vcpu, GuestPtr<void>) {
    return i64{!is_down(vcpu)};
}

Result<i64> op_get_runstate(Call&, Vcpu& vcpu, GuestPtr<void> argument) {
    TRY(copy_out(argument.as<vcpu_runstate_info_t>(), runstate_now(vcpu)));
    return i64{0};
}

Result<i64> op_register_runstate(Call& call, Vcpu& vcpu, GuestPtr<void> argument) {
    const auto area = TRY(copy_in(argument.as<vcpu_register_runstate_memory_area_t>()));
    if (area.addr.p != 0 && !arch::is_guest_range(Vaddr(area.addr.p), sizeof(vcpu_runstate_info_t)))
        return Err::Fault;
    vcpu.runstate_guest = area.addr.p;
    if (area.addr.p != 0 && &vcpu == &call.vcpu)
        update_guest_runstate_copy(vcpu);
    return i64{0};
}

Result<i64> op_register_time(Call& call, Vcpu& vcpu, GuestPtr<void> argument) {
    const auto area = TRY(copy_in(argument.as<vcpu_register_time_memory_area_t>()));
    if (area.addr.p != 0 && !arch::is_guest_range(Vaddr(area.addr.p), sizeof(vcpu_time_info_t)))
        return Err::Fault;
    vcpu.time_info_guest = area.addr.p;
    if (area.addr.p != 0 && &vcpu == &call.vcpu)
        update_guest_time_copy(vcpu);
    return i64{0};
}

Result<i64> op_set_periodic(Call&, Vcpu& vcpu, GuestPtr<void> argument) {
    const auto request = TRY(copy_in(argument.as<vcpu_set_periodic_timer_t>()));
    if (request.period_ns < shortest_period || request.period_ns > longest_period)
        return Err::Inval;
    set_periodic_timer(vcpu, request.period_ns);
    return i64{0};
}

Result<i64> op_stop_periodic(Call&, Vcpu& vcpu, GuestPtr<void>) {
    set_periodic_timer(vcpu, 0);
    return i64{0};
}

Result<i64> op_set_singleshot(Call& call, Vcpu& vcpu, GuestPtr<void> argument) {
    if (&vcpu != &call.vcpu)
        return Err::Inval;
    const auto request = TRY(copy_in(argument.as<vcpu_set_singleshot_timer_t>()));
    // A time that has passed fires at once, with VCPU_SSHOTTMR_future too: Xen 4.17 answers 0, whatever <xen/vcpu.h>
    // says.
    set_oneshot_timer(vcpu, request.timeout_abs_ns);
    return i64{0};
}

Result<i64> op_stop_singleshot(Call& call, Vcpu& vcpu, GuestPtr<void>) {
    if (&vcpu != &call.vcpu)
        return Err::Inval;
    disarm(vcpu.singleshot_timer);
    return i64{0};
}

Result<i64> op_register_info(Call&, Vcpu& vcpu, GuestPtr<void> argument) {
    const auto request = TRY(copy_in(argument.as<vcpu_register_vcpu_info_t>()));
    TRY(register_vcpu_info(vcpu, Mfn(request.mfn), request.offset));
    update_time_page(vcpu);
    return i64{0};
}

Result<i64> op_send_nmi(Call&, Vcpu& vcpu, GuestPtr<void> argument) {
    if (!argument.is_null())
        return Err::Inval;
    vcpu.nmi_pending.store(true, std::memory_order_release);
    notify(vcpu);
    return i64{0};
}

// Only meaningful for a vcpu of dom0 that is bound to one CPU.
Result<i64> op_get_physid(Call&, Vcpu& vcpu, GuestPtr<void> argument) {
    const arch::CpuMask bound = vcpu.sched.affinity;
    if (!vcpu.domain.privileged || !std::has_single_bit(bound))
        return Err::Inval;
    const u64 cpu = static_cast<u64>(std::countr_zero(bound));
    TRY(copy_out(argument.as<vcpu_get_physid_t>(), {.phys_id = cpu | cpu << 32}));
    return i64{0};
}

constexpr Operation<Result<i64> (*)(Call&, Vcpu&, GuestPtr<void>)> vcpu_ops[] = {
    OFFERED(VCPUOP_initialise, op_initialise, Guest),
    OFFERED(VCPUOP_up, op_up, Guest),
    OFFERED(VCPUOP_down, op_down, Guest),
    OFFERED(VCPUOP_is_up, op_is_up, Guest),
    OFFERED(VCPUOP_get_runstate_info, op_get_runstate, Guest),
    OFFERED(VCPUOP_register_runstate_memory_area, op_register_runstate, Guest),
    OFFERED(VCPUOP_set_periodic_timer, op_set_periodic, Guest),
    OFFERED(VCPUOP_stop_periodic_timer, op_stop_periodic, Guest),
    OFFERED(VCPUOP_set_singleshot_timer, op_set_singleshot, Guest),
    OFFERED(VCPUOP_stop_singleshot_timer, op_stop_singleshot, Guest),
    OFFERED(VCPUOP_register_vcpu_info, op_register_info, Guest),
    OFFERED(VCPUOP_send_nmi, op_send_nmi, Guest),
    OFFERED(VCPUOP_get_physid, op_get_physid, Guest),
    OFFERED(VCPUOP_register_vcpu_time_memory_area, op_register_time, Guest),
};

} // namespace

// Err::NoEnt: no such vcpu; Err::NoSys: no such operation.
Result<i64> vcpu_op(Call& call, u32 command, u32 id, GuestPtr<void> argument) {
    Vcpu* vcpu = call.domain.vcpu(id);
    if (!vcpu)
        return Err::NoEnt;
    const auto* row = find_operation(vcpu_ops, command);
    return row ? row->run(call, *vcpu, argument) : Result<i64>(Err::NoSys);
}

const OperationList vcpu_operations(vcpu_ops);

} // namespace domus::hv
