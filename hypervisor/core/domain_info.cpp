// What control tools are told about a domain. No lock: a snapshot. Flags as tools of Xen read them.
#include "hypervisor/core/domain_info.hpp"

#include <cstring>

namespace domus::hv {
namespace {

struct VcpuSummary {
    u32 online = 0;
    u32 highest = XEN_INVALID_MAX_VCPU_ID;
    bool all_blocked = true; // of those that are online
    bool any_running = false;
};

VcpuSummary summarize(const Domain& domain) {
    VcpuSummary sum;
    for (u32 i = 0; i < domain.max_vcpus; ++i) {
        const Vcpu* vcpu = domain.vcpus[i];
        if (!vcpu)
            continue;
        sum.highest = i;
        const u32 stops = vcpu->sched.stops.load(std::memory_order_relaxed);
        if (stops & bit_of(Stop::Down))
            continue;
        ++sum.online;
        sum.all_blocked &= (stops & bit_of(Stop::Blocked)) != 0;
        sum.any_running |= vcpu->running.load(std::memory_order_relaxed);
    }
    return sum;
}

u32 flags_of(const Domain& domain, const VcpuSummary& vcpus) {
    u32 flags = 0;
    if (domain.life.load() >= Life::Dying)
        flags |= XEN_DOMINF_dying;
    if (domain.has_shut_down.load())
        flags |= XEN_DOMINF_shutdown | u32{domain.shutdown_reason.load()} << XEN_DOMINF_shutdownshift;
    if (domain.controller_pauses != 0)
        flags |= XEN_DOMINF_paused;
    if (vcpus.all_blocked)
        flags |= XEN_DOMINF_blocked;
    if (vcpus.any_running)
        flags |= XEN_DOMINF_running;
    if (domain.debugger_attached)
        flags |= XEN_DOMINF_debugged;
    return flags;
}

} // namespace

void fill_domain_info(Domain& domain, xen_domctl_getdomaininfo& out) {
    std::memset(&out, 0, sizeof out);
    const VcpuSummary vcpus = summarize(domain);
    out.domain = domain.id.n;
    out.flags = flags_of(domain, vcpus);
    domain.frames.with([&](const OwnedFrames& frames) {
        out.tot_pages = frames.total;
        out.max_pages = frames.maximum;
        out.outstanding_pages = frames.claimed;
    });
    out.shared_info_frame = domain.shared ? domain.shared_info_frame.n : ~u64{0};
    out.cpu_time = domain.run_time.load(std::memory_order_relaxed);
    out.nr_online_vcpus = vcpus.online;
    out.max_vcpu_id = vcpus.highest;
    std::memcpy(out.handle, domain.handle, sizeof out.handle);
    out.gpaddr_bits = 46;
}

} // namespace domus::hv
