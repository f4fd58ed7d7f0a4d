// The machine: physical information, free memory, the hypervisor's log and counters. The sysctl half of hypervisor.hpp.
#include "hypervisor/client/hypervisor.hpp"

#include <algorithm>
#include <iterator>

#include "hypervisor/client/call.hpp"

namespace domus::client {

using detail::Sysctl;

PhysInfo Hypervisor::physinfo() {
    Sysctl call(raw_, "physinfo", XEN_SYSCTL_physinfo);
    call.run();
    const auto& raw = call.u().physinfo;
    PhysInfo info;
    info.threads_per_core = raw.threads_per_core;
    info.cores_per_socket = raw.cores_per_socket;
    info.cpus = raw.nr_cpus;
    info.max_cpu_id = raw.max_cpu_id;
    info.nodes = raw.nr_nodes;
    info.cpu_khz = raw.cpu_khz;
    info.capabilities = raw.capabilities;
    info.total_pages = raw.total_pages;
    info.free_pages = raw.free_pages;
    info.scrub_pages = raw.scrub_pages;
    info.outstanding_pages = raw.outstanding_pages;
    info.max_mfn = raw.max_mfn;
    std::copy(std::begin(raw.hw_cap), std::end(raw.hw_cap), info.hw_cap.begin());
    return info;
}

std::uint64_t Hypervisor::available_heap_bytes() {
    Sysctl call(raw_, "availheap", XEN_SYSCTL_availheap);
    call.u().availheap.node = -1;
    call.run();
    return call.u().availheap.avail_bytes;
}

ConsoleText Hypervisor::read_console(std::optional<std::uint32_t> from, bool clear) {
    constexpr std::uint32_t chunk = 16384;
    constexpr std::size_t limit =
        16u << 20; // a ring is smaller than that; a hypervisor that never ends is not believed
    Buffer<char> buffer(raw_, chunk);
    ConsoleText result;
    // `incremental` reads on from `index`; the first read of all starts at 0, the oldest text that is kept.
    result.next_index = from.value_or(0);
    while (result.text.size() < limit) {
        Sysctl call(raw_, "readconsole", XEN_SYSCTL_readconsole);
        auto& op = call.u().readconsole;
        op.clear = clear;
        op.incremental = 1;
        op.index = result.next_index;
        op.count = chunk;
        set_xen_guest_handle(op.buffer, buffer.data());
        call.run();
        const std::uint32_t got = std::min(op.count, chunk);
        result.text.append(buffer.data(), got);
        result.next_index = op.index;
        if (got < chunk) {
            break;
        }
    }
    return result;
}

std::vector<Counter> Hypervisor::counters() {
    Sysctl sizes(raw_, "perfc_op", XEN_SYSCTL_perfc_op);
    sizes.u().perfc_op.cmd = XEN_SYSCTL_PERFCOP_query;
    const long answer = sizes.attempt();
    if (answer == -ENOSYS || answer == -EOPNOTSUPP) {
        return {};
    }
    if (answer < 0) {
        throw Error("sysctl perfc_op", std::nullopt, static_cast<int>(-answer));
    }
    const std::uint32_t names = sizes.u().perfc_op.nr_counters, numbers = sizes.u().perfc_op.nr_vals;
    Buffer<xen_sysctl_perfc_desc> descriptions(raw_, names);
    Buffer<xen_sysctl_perfc_val_t> values(raw_, numbers);
    Sysctl query(raw_, "perfc_op", XEN_SYSCTL_perfc_op);
    auto& op = query.u().perfc_op;
    op.cmd = XEN_SYSCTL_PERFCOP_query;
    set_xen_guest_handle(op.desc, descriptions.data());
    set_xen_guest_handle(op.val, values.data());
    query.run();

    std::vector<Counter> all;
    std::size_t next = 0;
    for (const auto& description : descriptions.span()) {
        const std::size_t count = std::min<std::size_t>(description.nr_vals, values.size() - next);
        const auto part = values.span().subspan(next, count);
        const std::size_t length = ::strnlen(description.name, sizeof description.name);
        all.push_back({std::string(description.name, length), {part.begin(), part.end()}});
        next += count;
    }
    return all;
}

void Hypervisor::reset_counters() {
    Sysctl call(raw_, "perfc_op reset", XEN_SYSCTL_perfc_op);
    call.u().perfc_op.cmd = XEN_SYSCTL_PERFCOP_reset;
    call.run();
}

void Hypervisor::debug_keys(const std::string& keys) {
    Buffer<char> text(raw_, keys.size());
    std::copy(keys.begin(), keys.end(), text.data());
    Sysctl call(raw_, "debug_keys", XEN_SYSCTL_debug_keys);
    set_xen_guest_handle(call.u().debug_keys.keys, text.data());
    call.u().debug_keys.nr_keys = static_cast<std::uint32_t>(keys.size());
    call.run();
}

} // namespace domus::client
