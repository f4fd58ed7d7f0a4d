// What the hypervisor and the engine say, as messages of the API. No lock. Pure.
#include <utility>

#include "toolstack/daemon/reply.hpp"

#include "toolstack/model/text.hpp"
#include "toolstack/model/uuid.hpp"

#include <array>
#include <chrono>

#ifndef __XEN_TOOLS__
#define __XEN_TOOLS__
#endif
#include <xen/domctl.h>
#include <xen/sysctl.h>

namespace domus::daemon {

namespace {

std::string reason_text(const engine::DomainInfo& info) {
    static constexpr std::array<const char*, 6> names = {"poweroff", "reboot",   "suspend",
                                                         "crash",    "watchdog", "soft-reset"};
    if (!info.shutdown)
        return "";
    return info.shutdown_code < names.size() ? names[info.shutdown_code] : "unknown";
}

/// xl's words, in its order.
std::string capability_text(std::uint32_t bits) {
    constexpr std::uint32_t pv = XEN_SYSCTL_PHYSCAP_pv, hvm = XEN_SYSCTL_PHYSCAP_hvm;
    static constexpr std::array<std::pair<std::uint32_t, const char*>, 11> names = {{
        {pv, "pv"},
        {hvm, "hvm"},
        {hvm | XEN_SYSCTL_PHYSCAP_directio, "hvm_directio"},
        {pv | XEN_SYSCTL_PHYSCAP_directio, "pv_directio"},
        {XEN_SYSCTL_PHYSCAP_hap, "hap"},
        {XEN_SYSCTL_PHYSCAP_shadow, "shadow"},
        {XEN_SYSCTL_PHYSCAP_iommu_hap_pt_share, "iommu_hap_pt_share"},
        {XEN_SYSCTL_PHYSCAP_vmtrace, "vmtrace"},
        {XEN_SYSCTL_PHYSCAP_vpmu, "vpmu"},
        {XEN_SYSCTL_PHYSCAP_gnttab_v1, "gnttab-v1"},
        {XEN_SYSCTL_PHYSCAP_gnttab_v2, "gnttab-v2"},
    }};
    std::string out;
    for (const auto& [wanted, name] : names)
        if ((bits & wanted) == wanted)
            out += (out.empty() ? "" : " ") + std::string(name);
    return out;
}

const char* scheduler_text(unsigned id) {
    switch (id) {
    case XEN_SCHEDULER_CREDIT:
        return "credit";
    case XEN_SCHEDULER_CREDIT2:
        return "credit2";
    case XEN_SCHEDULER_ARINC653:
        return "arinc653";
    case XEN_SCHEDULER_RTDS:
        return "rtds";
    case XEN_SCHEDULER_NULL:
        return "null";
    default:
        return "unknown";
    }
}

} // namespace

std::string as_utf8(std::string text) {
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t length = model::utf8_length(std::string_view(text).substr(i));
        if (length == 0)
            text[i] = '?';
        i += length == 0 ? 1 : length;
    }
    return text;
}

proto::DomainState to_proto(const engine::Listed& domain) {
    const auto& info = domain.info;
    proto::DomainState out;
    out.set_domid(info.domid);
    out.set_name(as_utf8(domain.name));
    out.set_uuid(model::to_string(info.uuid));
    out.set_memory_kib((info.pages + info.outstanding_pages) * 4);
    out.set_max_memory_kib(info.max_pages > (~0ull >> 2) ? ~0ull : info.max_pages * 4);
    out.set_vcpus(info.online_vcpus);
    out.set_cpu_time_ns(info.cpu_time_ns);
    out.set_running(info.running);
    out.set_blocked(info.blocked);
    out.set_paused(info.paused);
    out.set_shutdown(info.shutdown);
    out.set_crashed(info.shutdown && info.shutdown_code == std::uint8_t(client::ShutdownReason::crash));
    out.set_dying(info.dying);
    out.set_shutdown_reason(reason_text(info));
    return out;
}

proto::HostInfo to_proto(const client::PhysInfo& machine, const client::VersionInfo& version, unsigned scheduler,
                         const engine::Uname& host) {
    proto::HostInfo out;
    out.set_host(as_utf8(host.host));
    out.set_release(as_utf8(host.release));
    out.set_version(as_utf8(host.version));
    out.set_machine(as_utf8(host.machine));
    out.set_nr_cpus(machine.cpus);
    out.set_max_cpu_id(machine.max_cpu_id);
    out.set_nr_nodes(machine.nodes);
    out.set_cores_per_socket(machine.cores_per_socket);
    out.set_threads_per_core(machine.threads_per_core);
    out.set_cpu_khz(machine.cpu_khz);
    for (const auto word : machine.hw_cap)
        out.add_hw_caps(word);
    out.set_virt_caps(capability_text(machine.capabilities));
    out.set_total_memory_kib(machine.total_pages * 4);
    out.set_free_memory_kib(machine.free_pages * 4);
    out.set_outstanding_claims_kib(machine.outstanding_pages * 4);
    out.set_xen_major(version.major);
    out.set_xen_minor(version.minor);
    out.set_xen_extra(as_utf8(version.extra));
    out.set_xen_caps(as_utf8(version.capabilities));
    out.set_xen_scheduler(scheduler_text(scheduler));
    out.set_xen_pagesize(version.page_size);
    out.set_virt_start(version.virt_start);
    out.set_xen_changeset(as_utf8(version.changeset));
    out.set_xen_commandline(as_utf8(version.command_line));
    out.set_cc_compiler(as_utf8(version.compiler));
    out.set_cc_compile_by(as_utf8(version.compile_by));
    out.set_cc_compile_domain(as_utf8(version.compile_domain));
    out.set_cc_compile_date(as_utf8(version.compile_date));
    out.set_build_id(as_utf8(version.build_id));
    return out;
}

proto::BlockDevice to_proto(const engine::BlockState& disk) {
    proto::BlockDevice out;
    out.set_devid(disk.devid);
    out.set_vdev(disk.vdev);
    out.set_target(as_utf8(disk.target));
    out.set_read_only(disk.read_only);
    out.set_state(unsigned(disk.state));
    out.set_backend(disk.backend);
    out.set_backend_domid(disk.backend_domid);
    out.set_event_channel(disk.event_channel);
    out.set_ring_ref(disk.ring_ref);
    return out;
}

proto::NetworkDevice to_proto(const engine::NetworkState& card) {
    proto::NetworkDevice out;
    out.set_devid(card.devid);
    out.set_mac(as_utf8(card.mac));
    out.set_bridge(as_utf8(card.bridge));
    out.set_state(unsigned(card.state));
    out.set_backend(card.backend);
    out.set_backend_domid(card.backend_domid);
    out.set_event_channel_tx(card.tx_port);
    out.set_event_channel_rx(card.rx_port);
    out.set_tx_ring_ref(card.tx_ring);
    out.set_rx_ring_ref(card.rx_ring);
    return out;
}

proto::DeviceView to_proto(const engine::DeviceView& view) {
    proto::DeviceView out;
    out.set_domid(view.id.domid);
    out.set_device(view.device);
    out.set_devid(view.id.devid);
    out.set_kind(view.kind);
    out.set_backend(view.backend);
    out.set_backend_domid(view.backend_domid);
    out.set_backend_state(engine::state_name(view.backend_state));
    out.set_frontend_state(engine::state_name(view.frontend_state));
    out.set_error(as_utf8(view.error));
    const auto add = [](const engine::Feature& feature, proto::Feature& to) {
        to.set_name(as_utf8(feature.first));
        to.set_value(as_utf8(feature.second));
    };
    for (const auto& feature : view.offered)
        add(feature, *out.add_offered());
    for (const auto& feature : view.wanted)
        add(feature, *out.add_wanted());
    for (const auto& figure : view.figures.list) {
        auto* to = out.add_figures();
        to->set_name(as_utf8(figure.name));
        to->set_value(figure.value);
        to->set_counts(figure.counts);
    }
    out.set_pid(view.figures.pid);
    out.set_server_gone(view.figures.gone);
    out.set_missing(view.figures.missing);
    out.set_time_ns(std::uint64_t(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1)));
    return out;
}

} // namespace domus::daemon
