// Shutdown, crash and resume. Lock: none; life changes by compare-and-swap. Callable from hypercalls, traps and timers,
// with no lock held (it raises VIRQ_DOM_EXC).
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/trace.hpp"

namespace domus::hv {
namespace {

constexpr std::string_view reason_names[] = {"poweroff", "reboot", "suspend", "crash", "watchdog", "soft reset"};

std::string_view name_of(u8 reason) {
    return reason < std::size(reason_names) ? reason_names[reason] : std::string_view("reason of its own");
}

// With dom0 the machine ends: nobody could control it any more.
[[noreturn]] void shut_down_machine(u8 reason) {
    log(Level::Error, "dom0 has shut down: {}", name_of(reason));
    if (reason == SHUTDOWN_poweroff)
        arch::power_off();
    if (reason == SHUTDOWN_crash)
        arch::panic_halt();
    arch::reboot_machine();
}

template <class Body>
void for_each_vcpu(Domain& domain, Body body) {
    for (u32 i = 0; i < domain.max_vcpus; ++i) {
        if (Vcpu* vcpu = domain.vcpus[i])
            body(*vcpu);
    }
}

} // namespace

void shut_down_domain(Domain& domain, u8 reason) {
    if (domain.latched_shutdown_code >= 0)
        reason = static_cast<u8>(domain.latched_shutdown_code);
    if (&domain == dom0())
        shut_down_machine(reason);
    // First come, first served: a second shutdown, or one of a dying domain, changes nothing.
    Life life = domain.life.load(std::memory_order_acquire);
    do {
        if (life != Life::Alive && life != Life::Building)
            return;
        domain.shutdown_reason.store(reason, std::memory_order_relaxed);
    } while (!domain.life.compare_exchange_weak(life, Life::ShutDown, std::memory_order_acq_rel));
    domain.has_shut_down.store(true, std::memory_order_release);
    log(Level::Info, "d{} has shut down: {}", domain.id, name_of(reason));
    trace(TraceEvent::DomainLife, domain.id.n, static_cast<u64>(Life::ShutDown));
    for_each_vcpu(domain, [](Vcpu& vcpu) { stop(vcpu, Stop::ShutDown); });
    raise_global_virq_of_machine(VIRQ_DOM_EXC);
}

void crash_domain(Domain& domain, std::string_view why) {
    log(Level::Error, "d{} crashed: {}", domain.id, why);
    shut_down_domain(domain, SHUTDOWN_crash);
}

Result<void> unpause_by_controller(Domain& domain) {
    if (domain.controller_pauses == 0)
        return Err::Inval;
    Life building = Life::Building;
    if (domain.life.compare_exchange_strong(building, Life::Alive))
        trace(TraceEvent::DomainLife, domain.id.n, static_cast<u64>(Life::Alive));
    --domain.controller_pauses;
    unpause_domain(domain);
    return {};
}

void resume_domain(Domain& domain) {
    Life expected = Life::ShutDown;
    if (!domain.life.compare_exchange_strong(expected, Life::Alive, std::memory_order_acq_rel))
        return;
    domain.has_shut_down.store(false, std::memory_order_relaxed);
    domain.latched_shutdown_code = -1;
    for_each_vcpu(domain, [](Vcpu& vcpu) { start(vcpu, Stop::ShutDown); });
}

} // namespace domus::hv
