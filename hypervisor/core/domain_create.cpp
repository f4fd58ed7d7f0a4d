// Making domains and vcpus. Lock: Rank::Control held by domctl (or start-up, which is alone). What fails half-way gives
// back all it took; the domain is entered in the list only when it is whole.
#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/domain_list.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/guest_context.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/time.hpp"
#include "hypervisor/core/trace.hpp"

#include <cstring>

namespace domus::hv {
namespace {

void take_settings(Domain& domain, const DomainParameters& parameters) {
    domain.privileged = parameters.privileged;
    domain.max_vcpus = parameters.max_vcpus;
    domain.max_event_port = parameters.max_event_port;
    domain.time_offset_seconds = parameters.time_offset_seconds;
    std::memcpy(domain.handle, parameters.handle, sizeof domain.handle);
}

Result<void> furnish(Domain& domain, const DomainParameters& parameters) {
    if (!domain.events.state() || !domain.grants.state())
        return Err::NoMem;
    TRY(domain.grants.start(parameters.max_grant_frames, parameters.max_maptrack_frames, parameters.max_grant_version));
    domain.shared_info_frame = TRY(allocate_shared_frame(domain));
    domain.shared = arch::frame_as<shared_info_t>(domain.shared_info_frame);
    update_wall_clock(domain);
    return enlist(domain);
}

// A domain that nobody knows yet. Its frames hold a reference to it, which goes with the last of them.
void discard(Domain* domain) {
    domain->grants.give_back_table();
    if (domain->shared)
        free_shared_frame(*domain, domain->shared_info_frame);
    assert_slow(domain->references.load() == 1);
    destroy(domain);
}

} // namespace

Result<DomainRef> create_domain(const DomainParameters& parameters) {
    if (parameters.max_vcpus == 0 || parameters.max_vcpus > max_vcpus_per_domain)
        return Err::Inval;
    const DomId id = TRY(choose_domain_id(parameters.id));
    auto* domain = make<Domain>(id);
    if (!domain)
        return Err::NoMem;
    take_settings(*domain, parameters);
    if (auto done = furnish(*domain, parameters); !done) {
        discard(domain);
        return done.error();
    }
    trace(TraceEvent::DomainLife, id.n, static_cast<u64>(Life::Building));
    get_domain(*domain);
    return DomainRef(domain);
}

Result<void> create_vcpu(Domain& domain, VcpuId id) {
    if (id.n >= domain.max_vcpus || domain.life.load() >= Life::Dying)
        return Err::Inval;
    if (domain.vcpus[id.n])
        return Err::Exist;
    auto* vcpu = make<Vcpu>(domain, id);
    if (!vcpu)
        return Err::NoMem;
    vcpu->info = id.n < XEN_LEGACY_MAX_VCPUS ? &domain.shared->vcpu_info[id.n] : &unregistered_vcpu_info;
    vcpu->info->evtchn_upcall_mask = 1;
    vcpu->runstate.state = RUNSTATE_offline;
    vcpu->runstate.state_entry_time = arch::now().n;
    vcpu->processor.store(id.n % arch::cpu_count(), std::memory_order_relaxed);
    if (auto made = create_guest_context(*vcpu); !made) {
        destroy(vcpu);
        return made.error();
    }
    start_vcpu_timers(*vcpu);
    if (domain.pause_count.load() != 0)
        stop(*vcpu, Stop::DomainPaused);
    domain.vcpus[id.n] = vcpu;
    return {};
}

Result<void> enter_guest_context(Vcpu& vcpu, const vcpu_guest_context_t& context) {
    TRY(set_guest_context(vcpu, context));
    vcpu.initialised = true;
    // Builders clear the whole shared_info: the clocks in it are written anew.
    vcpu.time_stamp = ~u64{0};
    if (vcpu.id == VcpuId(0))
        update_wall_clock(vcpu.domain);
    if (context.flags & VGCF_online)
        start(vcpu, Stop::Down);
    else
        stop(vcpu, Stop::Down);
    return {};
}

} // namespace domus::hv
