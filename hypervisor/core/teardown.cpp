// The end of a domain: steps that can stop and go on, each giving back one kind of thing. The order matters: nothing
// runs, nobody can reach it by events or grants, no vcpu refers to its memory, then the memory goes.
// Lock: Rank::Control held by the caller. Called by domctl destroydomain (again and again until it is done).
#include "hypervisor/core/teardown.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/guest_context.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/time.hpp"
#include "hypervisor/core/trace.hpp"
#include "hypervisor/core/vcpu_info.hpp"

namespace domus::hv {
namespace {

Result<void> stop_for_good(Call&, Domain& domain) {
    for (u32 i = 0; i < domain.max_vcpus; ++i) {
        if (Vcpu* vcpu = domain.vcpus[i])
            stop(*vcpu, Stop::Dead);
    }
    wait_until_stopped(domain);
    for (u32 i = 0; i < domain.max_vcpus; ++i) {
        if (Vcpu* vcpu = domain.vcpus[i])
            stop_vcpu_timers(*vcpu);
    }
    for (Timer& timer : domain.watchdogs)
        disarm(timer);
    return {};
}

Result<void> close_events(Call&, Domain& domain) {
    while (!domain.events.close_some()) {
        if (must_yield())
            return Err::Restart;
    }
    return {};
}

Result<void> release_grants(Call& call, Domain& domain) {
    return domain.grants.release_mappings(call);
}

Result<void> settle_tables(Call&, Domain& domain) {
    end_unhooking(domain);
    return {};
}

Result<void> release_contexts(Call& call, Domain& domain) {
    for (u32 i = 0; i < domain.max_vcpus; ++i) {
        if (Vcpu* vcpu = domain.vcpus[i]) {
            TRY(release_guest_context(call, *vcpu));
            release_vcpu_info(*vcpu);
        }
    }
    return {};
}

// Whoever maps shared_info keeps the page, not the domain's use of it.
Result<void> release_shared_info(Call&, Domain& domain) {
    if (domain.shared) {
        domain.shared = nullptr;
        free_shared_frame(domain, domain.shared_info_frame);
    }
    return {};
}

using Step = Result<void> (*)(Call&, Domain&);
constexpr Step steps[] = {stop_for_good,    settle_tables,     close_events,       release_grants,
                          release_contexts, relinquish_memory, release_shared_info};

} // namespace

Result<void> destroy_domain(Call& call, Domain& domain) {
    if (&domain == dom0() || &domain == &call.domain)
        return Err::Inval;
    if (domain.life.load() == Life::Dead)
        return {}; // what remains of it belongs to others (mappings of its frames)
    if (domain.life.load() != Life::Dying) {
        domain.life.store(Life::Dying);
        trace(TraceEvent::DomainLife, domain.id.n, static_cast<u64>(Life::Dying));
    }
    while (domain.teardown_step < std::size(steps)) {
        TRY(steps[domain.teardown_step](call, domain));
        ++domain.teardown_step;
        if (must_yield())
            return Err::Restart;
    }
    domain.life.store(Life::Dead);
    trace(TraceEvent::DomainLife, domain.id.n, static_cast<u64>(Life::Dead));
    raise_global_virq_of_machine(VIRQ_DOM_EXC);
    put_domain(domain); // the list's own; the caller holds another
    return {};
}

} // namespace domus::hv
