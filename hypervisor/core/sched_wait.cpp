// Blocking, waking and pausing: who may stop a vcpu and how the waker finds it. No state of its own beyond the vcpus'.
// Lock: none held at entry except by event senders (Rank::Events). Called by hypercalls, event sending and control
// operations.
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/sched.hpp"

namespace domus::hv {
namespace {

template <class Body>
void for_each_vcpu(Domain& domain, Body body) {
    for (u32 i = 0; i < domain.max_vcpus; ++i) {
        if (Vcpu* vcpu = domain.vcpus[i])
            body(*vcpu);
    }
}

// On this CPU only the current vcpu runs, whatever `running` still says.
bool runs_elsewhere(const Vcpu& vcpu) {
    return vcpu.running.load(std::memory_order_acquire) &&
           vcpu.processor.load(std::memory_order_relaxed) != arch::this_cpu().n;
}

} // namespace

// Polling ends with any wake-up; the time limit's timer, if it still runs, then finds nothing to do.
void end_poll(Vcpu& vcpu) {
    if (vcpu.poll_port.exchange(0, std::memory_order_acq_rel) != 0)
        vcpu.domain.pollers.fetch_sub(1, std::memory_order_acq_rel);
}

void block(Vcpu& vcpu) {
    vcpu.info->evtchn_upcall_mask = 0;
    if (has_pending_event(vcpu))
        return;
    // First declare it asleep, then look for events. An event sender first sets the pending byte, then looks whether
    // the vcpu sleeps (notify): one of the two sees the other, and no wake-up is lost.
    stop(vcpu, Stop::Blocked);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (has_pending_event(vcpu))
        start(vcpu, Stop::Blocked);
}

void notify(Vcpu& vcpu) {
    std::atomic_thread_fence(std::memory_order_seq_cst); // pairs with block() and poll: pending before `stops`
    if (vcpu.sched.stops.load(std::memory_order_relaxed) & bit_of(Stop::Blocked)) {
        end_poll(vcpu);
        start(vcpu, Stop::Blocked);
    } else if (vcpu.running.load(std::memory_order_relaxed)) {
        arch::kick(CpuId(vcpu.processor.load(std::memory_order_relaxed)));
    }
}

void pause_domain(Domain& domain) {
    if (domain.pause_count.fetch_add(1, std::memory_order_acq_rel) == 0)
        for_each_vcpu(domain, [](Vcpu& vcpu) { stop(vcpu, Stop::DomainPaused); });
}

void unpause_domain(Domain& domain) {
    if (domain.pause_count.fetch_sub(1, std::memory_order_acq_rel) == 1)
        for_each_vcpu(domain, [](Vcpu& vcpu) { start(vcpu, Stop::DomainPaused); });
}

void wait_until_stopped(Domain& domain) {
    for_each_vcpu(domain, [](Vcpu& vcpu) {
        while (runs_elsewhere(vcpu))
            arch::relax();
    });
}

void pause_vcpu(Vcpu& vcpu) {
    if (vcpu.sched.pause_count.fetch_add(1, std::memory_order_acq_rel) == 0)
        stop(vcpu, Stop::Paused);
    while (runs_elsewhere(vcpu))
        arch::relax();
}

void unpause_vcpu(Vcpu& vcpu) {
    if (vcpu.sched.pause_count.fetch_sub(1, std::memory_order_acq_rel) == 1)
        start(vcpu, Stop::Paused);
}

} // namespace domus::hv
