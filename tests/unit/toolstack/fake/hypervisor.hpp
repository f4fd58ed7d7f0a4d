// A hypervisor that remembers its domains. Owner: the World. No lock.
#pragma once

#include "tests/unit/toolstack/fake/faults.hpp"
#include "toolstack/engine/hypervisor.hpp"
#include "toolstack/engine/perf.hpp"

#include <fmt/format.h>
#include <map>

namespace domus::engine::test {

struct FakeDomain {
    DomainInfo info;
    std::uint32_t weight = 0, cap = 0, ports = 0;
    std::uint64_t max_kib = 0;
    bool tsc_native = false;
};

class FakeHypervisor : public Hypervisor, public PerfSource {
public:
    explicit FakeHypervisor(Faults& faults) : faults_(faults) {
        FakeDomain& dom0 = domains_by_id[0];
        dom0.info.running = true;
        dom0.info.online_vcpus = 2;
        dom0.info.pages = 512 * 256;
        machine.total_pages = 2048 * 256;
        machine.free_pages = 1024 * 256;
    }

    std::uint16_t create_domain(const client::DomainSpec& spec) override {
        faults_.step("create_domain");
        const std::uint16_t domid = next_domid++;
        FakeDomain& made = domains_by_id[domid];
        made.info.domid = domid;
        made.info.uuid = spec.uuid;
        made.info.paused = true;
        made.info.vcpus = made.info.online_vcpus = spec.vcpus;
        return domid;
    }
    void destroy_domain(std::uint16_t domid) override {
        const auto gone = find(domid, "destroy_domain");
        machine.free_pages += gone->second.info.pages;
        domains_by_id.erase(gone);
    }
    void pause(std::uint16_t domid) override { find(domid, "pause")->second.info.paused = true; }
    void unpause(std::uint16_t domid) override { find(domid, "unpause")->second.info.paused = false; }
    void set_max_vcpus(std::uint16_t domid, unsigned vcpus) override {
        find(domid, "set_max_vcpus")->second.info.vcpus = vcpus;
    }
    void set_max_memory(std::uint16_t domid, std::uint64_t kib) override {
        find(domid, "set_max_memory")->second.max_kib = kib;
    }
    void set_tsc_native(std::uint16_t domid) override { find(domid, "set_tsc_native")->second.tsc_native = true; }
    void set_scheduler(std::uint16_t domid, std::uint32_t weight, std::uint32_t cap) override {
        FakeDomain& domain = find(domid, "set_scheduler")->second;
        domain.weight = weight;
        domain.cap = cap;
    }
    std::uint32_t alloc_unbound(std::uint16_t domid, std::uint16_t) override {
        return ++find(domid, "alloc_unbound")->second.ports;
    }

    std::optional<DomainInfo> domain_info(std::uint16_t domid) override {
        const auto found = domains_by_id.find(domid);
        return found == domains_by_id.end() ? std::nullopt : std::optional(found->second.info);
    }
    std::vector<DomainInfo> domains() override {
        std::vector<DomainInfo> all;
        for (const auto& [domid, domain] : domains_by_id)
            all.push_back(domain.info);
        return all;
    }
    client::PhysInfo physinfo() override { return machine; }
    unsigned scheduler_id() override { return 5; }
    client::VersionInfo version() override { return build; }
    std::string read_console(bool clear) override {
        std::string text = log;
        if (clear)
            log.clear();
        return text;
    }

    std::vector<PerfCounter> counters(std::optional<std::uint16_t> domid) override {
        if (domid)
            return {{"hypercalls", {*domid}}};
        return {{"page faults", {resets}}, {"hypercalls", {1, 0, 3}}};
    }
    void reset_counters() override { ++resets; }

    /// What the builder does to the domain's memory.
    void populate(std::uint16_t domid, std::uint64_t pages) {
        find(domid, "populate")->second.info.pages += pages;
        machine.free_pages -= pages;
    }
    /// The guest ends by itself.
    void end(std::uint16_t domid, client::ShutdownReason reason) {
        DomainInfo& info = domains_by_id.at(domid).info;
        info.shutdown = true;
        info.shutdown_code = std::uint8_t(reason);
    }

    std::map<std::uint16_t, FakeDomain> domains_by_id;
    std::uint16_t next_domid = 1;
    client::PhysInfo machine;
    client::VersionInfo build;
    std::string log = "(XEN) hello\n";
    std::uint64_t resets = 0;

private:
    std::map<std::uint16_t, FakeDomain>::iterator find(std::uint16_t domid, const std::string& what) {
        faults_.step(what);
        const auto found = domains_by_id.find(domid);
        if (found == domains_by_id.end())
            throw std::runtime_error(fmt::format("{}: there is no domain {}", what, domid));
        return found;
    }

    Faults& faults_;
};

} // namespace domus::engine::test
