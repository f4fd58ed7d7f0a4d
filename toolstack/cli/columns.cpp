// Answers as text in xl's columns, so that scripts that read xl's output read ours. No lock. Pure.
#include "toolstack/cli/columns.hpp"

#include <fmt/format.h>
#include <map>
#include <string_view>

namespace domus::cli {

namespace {

/// xl's table "-rscwS" of shutdown reasons.
char reason_letter(const std::string& reason) {
    static const std::map<std::string_view, char> letters = {
        {"reboot", 'r'}, {"suspend", 's'}, {"crash", 'c'}, {"watchdog", 'w'}, {"soft-reset", 'S'}};
    const auto found = letters.find(reason);
    return found == letters.end() ? '-' : found->second;
}

std::string state_letters(const proto::DomainState& domain) {
    const auto letter = [](bool on, char c) { return on ? c : '-'; };
    return {letter(domain.running(), 'r'),  letter(domain.blocked(), 'b'),           letter(domain.paused(), 'p'),
            letter(domain.shutdown(), 's'), reason_letter(domain.shutdown_reason()), letter(domain.dying(), 'd')};
}

std::string hw_caps_text(const proto::HostInfo& info) {
    std::string out;
    for (const auto word : info.hw_caps())
        out += fmt::format("{}{:08x}", out.empty() ? "" : ":", word);
    return out;
}

} // namespace

std::string list_text(const proto::DomainList& list) {
    std::string out = fmt::format("{:<40} {:>5} {:>5} {:>5}\tState\tTime(s)\n", "Name", "ID", "Mem", "VCPUs");
    for (const auto& domain : list.domains())
        out += fmt::format("{:<40} {:>5} {:>5} {:>5}     {}  {:>8.1f}\n", domain.name(), domain.domid(),
                           domain.memory_kib() / 1024, domain.vcpus(), state_letters(domain),
                           double(domain.cpu_time_ns()) / 1e9);
    return out;
}

std::string info_text(const proto::HostInfo& info) {
    std::string out;
    const auto line = [&](std::string_view name, const auto& value) {
        out += fmt::format("{:<23}: {}\n", name, value);
    };
    line("host", info.host());
    line("release", info.release());
    line("version", info.version());
    line("machine", info.machine());
    line("nr_cpus", info.nr_cpus());
    line("max_cpu_id", info.max_cpu_id());
    line("nr_nodes", info.nr_nodes());
    line("cores_per_socket", info.cores_per_socket());
    line("threads_per_core", info.threads_per_core());
    line("cpu_mhz", fmt::format("{}.{:03}", info.cpu_khz() / 1000, info.cpu_khz() % 1000));
    line("hw_caps", hw_caps_text(info));
    line("virt_caps", info.virt_caps());
    line("total_memory", info.total_memory_kib() / 1024);
    line("free_memory", info.free_memory_kib() / 1024);
    line("sharing_freed_memory", 0);
    line("sharing_used_memory", 0);
    line("outstanding_claims", info.outstanding_claims_kib() / 1024);
    line("free_cpus", 0);
    line("xen_major", info.xen_major());
    line("xen_minor", info.xen_minor());
    line("xen_extra", info.xen_extra());
    line("xen_version", fmt::format("{}.{}{}", info.xen_major(), info.xen_minor(), info.xen_extra()));
    line("xen_caps", info.xen_caps());
    line("xen_scheduler", info.xen_scheduler());
    line("xen_pagesize", info.xen_pagesize());
    line("platform_params", fmt::format("virt_start={:#x}", info.virt_start()));
    line("xen_changeset", info.xen_changeset());
    line("xen_commandline", info.xen_commandline());
    line("cc_compiler", info.cc_compiler());
    line("cc_compile_by", info.cc_compile_by());
    line("cc_compile_domain", info.cc_compile_domain());
    line("cc_compile_date", info.cc_compile_date());
    line("build_id", info.build_id());
    line("xend_config_format", 4);
    return out;
}

std::string counters_text(const proto::Counters& counters) {
    std::string out;
    for (const auto& counter : counters.counters()) {
        std::uint64_t total = 0;
        for (const auto value : counter.values())
            total += value;
        out += fmt::format("{:<48} {:>14}\n", counter.name(), total);
        if (counter.values_size() < 2)
            continue;
        for (int i = 0; i < counter.values_size(); ++i)
            if (counter.values(i) != 0)
                out += fmt::format("  {:<46} {:>14}\n", fmt::format("[{}]", i), counter.values(i));
    }
    return out;
}

std::string blocks_text(const proto::BlockList& list) {
    std::string out = fmt::format("{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {:<30}\n", "Vdev", "BE", "handle", "state",
                                  "evt-ch", "ring-ref", "BE-path");
    for (const auto& disk : list.devices())
        out += fmt::format("{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {:<30}\n", disk.devid(), disk.backend_domid(), 0,
                           disk.state(), disk.event_channel(), disk.ring_ref(), disk.backend());
    return out;
}

std::string networks_text(const proto::NetworkList& list) {
    std::string out = fmt::format("{:<3} {:<2} {:<17} {:>6} {:>5} {:>6} {:>5}/{:<11} {:<30}\n", "Idx", "BE",
                                  "Mac Addr.", "handle", "state", "evt-ch", "tx-", "rx-ring-ref", "BE-path");
    for (const auto& card : list.devices())
        out += fmt::format("{:<3} {:<2} {:<17} {:>6} {:>5} {:>6} {:>5}/{:<11} {:<30}\n", card.devid(),
                           card.backend_domid(), card.mac(), card.devid(), card.state(), card.event_channel_tx(),
                           card.tx_ring_ref(), card.rx_ring_ref(), card.backend());
    return out;
}

} // namespace domus::cli
