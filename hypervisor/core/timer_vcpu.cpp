// A vcpu's own timers: one-shot, periodic, and the hypercall set_timer_op. They raise VIRQ_TIMER.
// Lock: none; a vcpu's timers are armed by the CPU that runs it, or by whoever makes or ends it.
#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/hypercalls_domain.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/time.hpp"

namespace domus::hv {
namespace {

constexpr u64 ms = 1'000'000;
constexpr u64 usual_period =
    10 * ms; // guests of old count ticks from their first instruction; Linux stops them at once

void singleshot_fired(void* context) {
    Vcpu& vcpu = *static_cast<Vcpu*>(context);
    vcpu.domain.events.raise_virq(vcpu, VIRQ_TIMER);
}

// Ticks that were missed while the vcpu did not run are merged into one.
void tick(Vcpu& vcpu, u64 now) {
    if (now >= vcpu.periodic_last + vcpu.periodic_period) {
        vcpu.periodic_last = now - now % vcpu.periodic_period;
        vcpu.domain.events.raise_virq(vcpu, VIRQ_TIMER);
    }
    arm(vcpu.periodic_timer, Nanoseconds(vcpu.periodic_last + vcpu.periodic_period));
}

void periodic_fired(void* context) {
    Vcpu& vcpu = *static_cast<Vcpu*>(context);
    if (vcpu.periodic_period != 0 && vcpu.running.load(std::memory_order_relaxed))
        tick(vcpu, arch::now().n);
}

// sched_op poll: the time limit is over.
void poll_fired(void* context) {
    Vcpu& vcpu = *static_cast<Vcpu*>(context);
    if (vcpu.poll_port.load(std::memory_order_acquire) == 0)
        return;
    end_poll(vcpu);
    start(vcpu, Stop::Blocked);
}

} // namespace

void start_vcpu_timers(Vcpu& vcpu) {
    vcpu.singleshot_timer.handler = singleshot_fired;
    vcpu.periodic_timer.handler = periodic_fired;
    vcpu.poll_timer.handler = poll_fired;
    vcpu.singleshot_timer.context = vcpu.periodic_timer.context = vcpu.poll_timer.context = &vcpu;
    vcpu.periodic_period = usual_period;
}

void stop_vcpu_timers(Vcpu& vcpu) {
    vcpu.periodic_period = 0;
    disarm(vcpu.singleshot_timer);
    disarm(vcpu.periodic_timer);
    disarm(vcpu.poll_timer);
}

void set_oneshot_timer(Vcpu& vcpu, u64 deadline) {
    arm(vcpu.singleshot_timer, Nanoseconds(deadline));
}

void set_periodic_timer(Vcpu& vcpu, u64 period) {
    disarm(vcpu.periodic_timer);
    vcpu.periodic_period = period;
    vcpu.periodic_last = arch::now().n;
    if (period != 0 && &vcpu == &current())
        arm(vcpu.periodic_timer, Nanoseconds(vcpu.periodic_last + period));
}

void resume_periodic_timer(Vcpu& vcpu, u64 now) {
    tick(vcpu, now);
}

void suspend_periodic_timer(Vcpu& vcpu) {
    disarm(vcpu.periodic_timer);
}

// Timeout in absolute system time, 0: no timer. A time out of all reason (a negative one, or days ahead: old Linux
// computed such) is taken as "soon": 100 ms, so that the guest looks at its clock again.
Result<i64> set_timer_op(Call& call, u64 timeout) {
    if (timeout == 0) {
        disarm(call.vcpu.singleshot_timer);
        return i64{0};
    }
    const u64 now = arch::now().n;
    if (static_cast<i64>(timeout) < 0 || (timeout > now && ((timeout - now) >> 50) != 0))
        timeout = now + 100 * ms;
    set_oneshot_timer(call.vcpu, timeout);
    return i64{0};
}

} // namespace domus::hv
