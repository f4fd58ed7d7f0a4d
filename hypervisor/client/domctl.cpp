// Domains: creation, end, pause, vcpus, limits, information. The domctl half of hypervisor.hpp.
#include "hypervisor/client/hypervisor.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "hypervisor/client/call.hpp"

namespace domus::client {

using detail::Domctl;
using detail::Sysctl;

namespace {

constexpr std::uint32_t tsc_mode_never_emulate = 2; // documented in xen-tscmode(7); not in the public headers

DomainInfo to_info(const xen_domctl_getdomaininfo& raw) {
    DomainInfo info;
    info.domid = raw.domain;
    std::copy(std::begin(raw.handle), std::end(raw.handle), info.uuid.begin());
    info.dying = raw.flags & XEN_DOMINF_dying;
    info.hvm = raw.flags & XEN_DOMINF_hvm_guest;
    info.shutdown = raw.flags & XEN_DOMINF_shutdown;
    info.paused = raw.flags & XEN_DOMINF_paused;
    info.blocked = raw.flags & XEN_DOMINF_blocked;
    info.running = raw.flags & XEN_DOMINF_running;
    info.debugged = raw.flags & XEN_DOMINF_debugged;
    info.shutdown_code = (raw.flags >> XEN_DOMINF_shutdownshift) & XEN_DOMINF_shutdownmask;
    info.pages = raw.tot_pages;
    info.max_pages = raw.max_pages;
    info.outstanding_pages = raw.outstanding_pages;
    info.shared_info_frame = raw.shared_info_frame;
    info.cpu_time_ns = raw.cpu_time;
    info.online_vcpus = raw.nr_online_vcpus;
    info.vcpus = raw.max_vcpu_id == XEN_INVALID_MAX_VCPU_ID ? 0 : raw.max_vcpu_id + 1;
    info.cpupool = raw.cpupool;
    return info;
}

} // namespace

Hypervisor::Hypervisor() : Hypervisor(open_raw()) {}
Hypervisor::Hypervisor(std::shared_ptr<Raw> raw) : raw_(std::move(raw)) {}

std::uint16_t Hypervisor::create_domain(const DomainSpec& spec) {
    const bool grants_v2 = physinfo().capabilities & XEN_SYSCTL_PHYSCAP_gnttab_v2;
    Domctl call(raw_, "createdomain", XEN_DOMCTL_createdomain, spec.domid);
    auto& create = call.u().createdomain;
    std::copy(spec.uuid.begin(), spec.uuid.end(), std::begin(create.handle));
    create.max_vcpus = spec.vcpus;
    create.max_evtchn_port = spec.max_event_channels;
    create.max_grant_frames = spec.max_grant_frames;
    create.max_maptrack_frames = spec.max_maptrack_frames;
    create.grant_opts = XEN_DOMCTL_GRANT_version(grants_v2 ? 2 : 1);
    const long answer = call.attempt();
    if (answer < 0) { // the number in the structure names no domain yet
        throw Error("domctl createdomain", std::nullopt, static_cast<int>(-answer));
    }
    return call.op().domain;
}

void Hypervisor::destroy_domain(std::uint16_t domid) {
    using namespace std::chrono_literals;
    // A domain with much memory, or with pages still mapped by a backend, takes several calls to tear down.
    constexpr int attempts = 3000;
    for (int attempt = 0;; ++attempt) {
        Domctl call(raw_, "destroydomain", XEN_DOMCTL_destroydomain, domid);
        const long answer = call.attempt();
        if (answer >= 0) {
            return;
        }
        const bool unfinished = answer == -EAGAIN || answer == -EBUSY || answer == -ERESTART || answer == -EINTR;
        if (!unfinished || attempt == attempts) {
            throw Error("domctl destroydomain", domid, static_cast<int>(-answer));
        }
        if (answer == -EBUSY) {
            std::this_thread::sleep_for(1ms);
        }
    }
}

void Hypervisor::pause(std::uint16_t domid) {
    Domctl(raw_, "pausedomain", XEN_DOMCTL_pausedomain, domid).run();
}

void Hypervisor::unpause(std::uint16_t domid) {
    Domctl(raw_, "unpausedomain", XEN_DOMCTL_unpausedomain, domid).run();
}

void Hypervisor::set_max_vcpus(std::uint16_t domid, unsigned vcpus) {
    Domctl call(raw_, "max_vcpus", XEN_DOMCTL_max_vcpus, domid);
    call.u().max_vcpus.max = vcpus;
    call.run();
}

void Hypervisor::set_max_memory(std::uint16_t domid, std::uint64_t kib) {
    Domctl call(raw_, "max_mem", XEN_DOMCTL_max_mem, domid);
    call.u().max_mem.max_memkb = kib;
    call.run();
}

std::optional<DomainInfo> Hypervisor::domain_info(std::uint16_t domid) {
    Domctl call(raw_, "getdomaininfo", XEN_DOMCTL_getdomaininfo, domid);
    const long answer = call.attempt();
    if (answer == -ESRCH) {
        return std::nullopt;
    }
    if (answer < 0) {
        throw Error("domctl getdomaininfo", domid, static_cast<int>(-answer));
    }
    // Some hypervisors answer with the next domain when there is none of this number.
    if (call.u().getdomaininfo.domain != domid) {
        return std::nullopt;
    }
    return to_info(call.u().getdomaininfo);
}

std::vector<DomainInfo> Hypervisor::domains(std::uint16_t first) {
    constexpr std::uint32_t batch = 64;
    std::vector<DomainInfo> all;
    Buffer<xen_domctl_getdomaininfo> list(raw_, batch);
    for (std::uint32_t next = first; next < DOMID_FIRST_RESERVED;) {
        Sysctl call(raw_, "getdomaininfolist", XEN_SYSCTL_getdomaininfolist);
        auto& request = call.u().getdomaininfolist;
        request.first_domain = static_cast<domid_t>(next);
        request.max_domains = batch;
        set_xen_guest_handle(request.buffer, list.data());
        call.run();
        const std::uint32_t count = std::min(request.num_domains, batch);
        for (std::uint32_t i = 0; i < count; ++i) {
            all.push_back(to_info(list[i]));
        }
        if (count < batch) {
            break;
        }
        next = list[count - 1].domain + 1u;
    }
    return all;
}

void Hypervisor::set_vcpu_context(std::uint16_t domid, unsigned vcpu, const vcpu_guest_context& context) {
    Buffer<vcpu_guest_context_t> copy(raw_);
    *copy = context;
    Domctl call(raw_, "setvcpucontext", XEN_DOMCTL_setvcpucontext, domid);
    call.u().vcpucontext.vcpu = vcpu;
    set_xen_guest_handle(call.u().vcpucontext.ctxt, copy.data());
    call.run();
}

vcpu_guest_context Hypervisor::vcpu_context(std::uint16_t domid, unsigned vcpu) {
    Buffer<vcpu_guest_context_t> copy(raw_);
    Domctl call(raw_, "getvcpucontext", XEN_DOMCTL_getvcpucontext, domid);
    call.u().vcpucontext.vcpu = vcpu;
    set_xen_guest_handle(call.u().vcpucontext.ctxt, copy.data());
    call.run();
    return *copy;
}

VcpuInfo Hypervisor::vcpu_info(std::uint16_t domid, unsigned vcpu) {
    Domctl call(raw_, "getvcpuinfo", XEN_DOMCTL_getvcpuinfo, domid);
    call.u().getvcpuinfo.vcpu = vcpu;
    call.run();
    const auto& raw = call.u().getvcpuinfo;
    return {.online = raw.online != 0,
            .blocked = raw.blocked != 0,
            .running = raw.running != 0,
            .cpu_time_ns = raw.cpu_time,
            .cpu = raw.cpu};
}

void Hypervisor::init_hypercall_page(std::uint16_t domid, std::uint64_t frame) {
    Domctl call(raw_, "hypercall_init", XEN_DOMCTL_hypercall_init, domid);
    call.u().hypercall_init.gmfn = frame;
    call.run();
}

void Hypervisor::set_tsc_native(std::uint16_t domid) {
    Domctl call(raw_, "settscinfo", XEN_DOMCTL_settscinfo, domid);
    call.u().tsc_info.tsc_mode = tsc_mode_never_emulate;
    call.run();
}

void Hypervisor::frame_types(std::uint16_t domid, std::span<std::uint64_t> frames) {
    constexpr std::size_t batch = 1024; // the most one call takes
    for (std::size_t done = 0; done < frames.size(); done += batch) {
        const auto part = frames.subspan(done, std::min(batch, frames.size() - done));
        Buffer<xen_pfn_t> array(raw_, part.size());
        std::copy(part.begin(), part.end(), array.span().begin());
        Domctl call(raw_, "getpageframeinfo3", XEN_DOMCTL_getpageframeinfo3, domid);
        call.u().getpageframeinfo3.num = part.size();
        set_xen_guest_handle(call.u().getpageframeinfo3.array, array.data());
        call.run();
        std::copy(array.span().begin(), array.span().end(), part.begin());
    }
}

void Hypervisor::set_virq_handler(std::uint16_t domid, unsigned virq) {
    Domctl call(raw_, "set_virq_handler", XEN_DOMCTL_set_virq_handler, domid);
    call.u().set_virq_handler.virq = virq;
    call.run();
}

} // namespace domus::client
