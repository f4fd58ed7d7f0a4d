// What the engine asks of a hypervisor, so that tests can put a fake in its place.
// Owner: domusd's main; shared by reference. No lock, one thread. XenHypervisor (xen.hpp) is the real one.
#pragma once

#include "hypervisor/client/types.hpp"
#include "toolstack/model/domain.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace domus::engine {

using client::DomainInfo;

/// Every member throws std::runtime_error (client::Error from the real one) whose message names operation and domain.
class Hypervisor {
public:
    virtual ~Hypervisor() = default;

    virtual std::uint16_t create_domain(const client::DomainSpec& spec) = 0;
    virtual void destroy_domain(std::uint16_t domid) = 0;
    virtual void pause(std::uint16_t domid) = 0;
    virtual void unpause(std::uint16_t domid) = 0;
    virtual void set_max_vcpus(std::uint16_t domid, unsigned vcpus) = 0;
    virtual void set_max_memory(std::uint16_t domid, std::uint64_t kib) = 0;
    virtual void set_tsc_native(std::uint16_t domid) = 0;
    /// 0 leaves weight or cap as it is.
    virtual void set_scheduler(std::uint16_t domid, std::uint32_t weight, std::uint32_t cap) = 0;
    virtual std::uint32_t alloc_unbound(std::uint16_t domid, std::uint16_t remote) = 0;

    virtual std::optional<DomainInfo> domain_info(std::uint16_t domid) = 0;
    virtual std::vector<DomainInfo> domains() = 0;
    virtual client::PhysInfo physinfo() = 0;
    virtual unsigned scheduler_id() = 0;
    virtual client::VersionInfo version() = 0;
    virtual std::string read_console(bool clear) = 0;
};

} // namespace domus::engine
