// The engine's hypervisor on the real interface. No lock, one thread.
#include "toolstack/engine/xen.hpp"

#include "hypervisor/abi/domus.h"
#include "hypervisor/client/buffer.hpp"
#include "hypervisor/client/error.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <stdexcept>

namespace domus::engine {

namespace {
constexpr std::uint32_t most_counters = 65536; // an answer beyond this is not believed
}

void XenHypervisor::set_scheduler(std::uint16_t domid, std::uint32_t weight, std::uint32_t cap) {
    auto params = client_.scheduler_params(domid);
    if (weight != 0)
        params.weight = std::uint16_t(weight);
    if (cap != 0)
        params.cap = std::uint16_t(cap);
    client_.set_scheduler_params(domid, params);
}

std::vector<PerfCounter> XenHypervisor::counters(std::optional<std::uint16_t> domid) {
    if (domid)
        return domain_counters(*domid);
    auto counters = client_.counters();
    if (counters.empty())
        throw std::runtime_error("this hypervisor was built without performance counters; Domus has them always, Xen "
                                 "only when built with CONFIG_PERF_COUNTERS=y");
    std::vector<PerfCounter> all;
    for (auto& counter : counters)
        all.push_back({std::move(counter.name), {counter.values.begin(), counter.values.end()}});
    return all;
}

// Per domain there is nothing in Xen's interface: hypervisor/abi/domus.h.
std::vector<PerfCounter> XenHypervisor::domain_counters(std::uint16_t domid) {
    client::Buffer<domus_read_counters> query(client_.raw());
    std::uint32_t room = 256; // more than there are today; the answer says when it was too little
    for (;;) {
        client::Buffer<domus_counter> counters(client_.raw(), room);
        *query = {.domid = domid, .flags = 0, .count = room, .counters = counters.address()};
        const long answer = client_.raw()->hypercall(DOMUS_HYPERCALL, {DOMUS_EXT_read_counters, query.address()});
        if (answer == -ENOSYS)
            throw std::runtime_error(
                fmt::format("this hypervisor counts for the whole machine only; leave the domain ({}) out", domid));
        if (answer < 0)
            throw client::Error("read_counters", domid, int(-answer));
        if (query->count > room && query->count <= most_counters) {
            room = query->count;
            continue;
        }
        std::vector<PerfCounter> all;
        for (std::uint32_t i = 0; i < std::min(query->count, room); ++i)
            all.push_back({std::string(counters[i].name, ::strnlen(counters[i].name, sizeof counters[i].name)),
                           {counters[i].value}});
        return all;
    }
}

} // namespace domus::engine
