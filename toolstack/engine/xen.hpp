// The engine's hypervisor on the real interface. Owner: domusd's main. No lock, one thread.
#pragma once

#include "hypervisor/client/hypervisor.hpp"
#include "toolstack/engine/hypervisor.hpp"
#include "toolstack/engine/perf.hpp"

namespace domus::engine {

class XenHypervisor : public Hypervisor, public PerfSource {
public:
    std::uint16_t create_domain(const client::DomainSpec& spec) override { return client_.create_domain(spec); }
    void destroy_domain(std::uint16_t domid) override { client_.destroy_domain(domid); }
    void pause(std::uint16_t domid) override { client_.pause(domid); }
    void unpause(std::uint16_t domid) override { client_.unpause(domid); }
    void set_max_vcpus(std::uint16_t domid, unsigned vcpus) override { client_.set_max_vcpus(domid, vcpus); }
    void set_max_memory(std::uint16_t domid, std::uint64_t kib) override { client_.set_max_memory(domid, kib); }
    void set_tsc_native(std::uint16_t domid) override { client_.set_tsc_native(domid); }
    void set_scheduler(std::uint16_t domid, std::uint32_t weight, std::uint32_t cap) override;
    std::uint32_t alloc_unbound(std::uint16_t domid, std::uint16_t remote) override {
        return client_.alloc_unbound(domid, remote);
    }
    std::optional<DomainInfo> domain_info(std::uint16_t domid) override { return client_.domain_info(domid); }
    std::vector<DomainInfo> domains() override { return client_.domains(); }
    client::PhysInfo physinfo() override { return client_.physinfo(); }
    unsigned scheduler_id() override { return client_.scheduler_id(); }
    client::VersionInfo version() override { return client_.version(); }
    std::string read_console(bool clear) override { return client_.read_console(std::nullopt, clear).text; }

    std::vector<PerfCounter> counters(std::optional<std::uint16_t> domid) override;
    void reset_counters() override { client_.reset_counters(); }

private:
    std::vector<PerfCounter> domain_counters(std::uint16_t domid);

    client::Hypervisor client_;
};

} // namespace domus::engine
