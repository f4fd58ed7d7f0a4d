// Creating a guest, step by step, each with its way back. Part of Engine; see engine.hpp.
#include <utility>

#include "toolstack/engine/engine.hpp"

#include "toolstack/engine/layout.hpp"
#include "toolstack/model/config.hpp"
#include "toolstack/model/mac.hpp"
#include "toolstack/model/uuid.hpp"

#include <fmt/format.h>
#include <map>

namespace domus::engine {

namespace {

// Room above the guest's memory that Xen's tools allow it too, in KiB; drivers that balloon need it.
constexpr std::uint64_t max_memory_slack_kib = 1024;

/// Keeps a name or UUID for one guest while it is created: neither hypervisor nor store know it yet.
class Held {
public:
    Held(std::set<std::string>& taken, const std::string& what, std::string value)
        : taken_(taken), value_(std::move(value)) {
        if (!taken_.insert(value_).second)
            throw std::runtime_error(
                fmt::format("a guest with {0} {1} is being created just now; choose another {0}=", what, value_));
    }
    Held(const Held&) = delete;
    ~Held() { taken_.erase(value_); }

private:
    std::set<std::string>& taken_;
    std::string value_;
};

/// Two disks of one guest that are the same in dom0: attaching the second would fail when all else is done.
void check_disks(const std::vector<model::Disk>& disks, Host& host) {
    std::map<std::string, const model::Disk*> seen;
    for (const auto& disk : disks) {
        if (!disk.backend_domain.empty())
            continue; // paths of another domain
        const std::string identity = host.disk_identity(disk.target);
        const auto [first, fresh] = seen.emplace(identity, &disk);
        if (fresh || identity.empty() || (disk.read_only && first->second->read_only))
            continue;
        throw std::runtime_error(fmt::format("disks {} and {} are the same ({}); give each its own, or make both "
                                             "read-only (access=ro)",
                                             first->second->vdev, disk.vdev, disk.target));
    }
}

} // namespace

struct Engine::Work {
    Record record;
    bool paused = false;
    Progress progress;
    std::uint32_t store_port = 0, console_port = 0;

    std::uint16_t domid() const { return record.domid; }
    const model::Domain& config() const { return record.config; }
};

std::uint64_t overhead_kib(unsigned vcpus) {
    return 1024 + 128ull * vcpus;
}

asio::awaitable<void> Engine::check_unique(const model::Domain& config) {
    const auto domains = co_await list();
    for (const auto& other : domains) {
        if (other.name == config.name)
            throw std::runtime_error(
                fmt::format("a guest called {} is there already (domain {}); choose another name=, or "
                            "end it first: domus destroy {}",
                            config.name, other.info.domid, config.name));
        if (!other.info.dying && other.info.uuid == *config.uuid)
            throw std::runtime_error(fmt::format("uuid {} belongs to {} (domain {}) already; leave uuid= out",
                                                 model::to_string(*config.uuid), other.name, other.info.domid));
    }
}

void Engine::check_memory(std::uint64_t needed_kib, const std::string& for_what) {
    const std::uint64_t free_kib = s_.hypervisor.physinfo().free_pages * 4;
    if (needed_kib <= free_kib)
        return;
    throw std::runtime_error(
        fmt::format("too little memory for {}: {} MiB is needed, {} MiB is free; lower memory=, end "
                    "another guest, or give dom0 less (dom0_mem= at boot, domus mem-set Domain-0)",
                    for_what, (needed_kib + 1023) / 1024, free_kib / 1024));
}

asio::awaitable<void> Engine::check_request(const model::Domain& config) {
    model::validate(config);
    if (config.tsc_mode == model::TscMode::AlwaysEmulate)
        throw std::runtime_error("tsc_mode=\"always_emulate\" is not supported: rdtsc runs natively; use \"native\"");
    s_.host.require_file(config.kernel, "kernel");
    if (!config.ramdisk.empty())
        s_.host.require_file(config.ramdisk, "ramdisk");
    check_disks(config.disks, s_.host);
    for (const auto& disk : config.disks) {
        const auto backend = co_await backend_domain(disk.backend_domain, config.name);
        co_await blocks_.check(disk, backend);
    }
    for (const auto& vif : config.vifs) {
        const auto backend = co_await backend_domain(vif.backend_domain, config.name);
        co_await networks_.check(vif, backend);
    }
    check_memory(config.memory_kib + overhead_kib(config.max_vcpus), config.name);
}

asio::awaitable<Created> Engine::create(model::Domain config, bool paused, Progress progress) {
    model::validate(config);
    if (!config.uuid)
        config.uuid = model::make_uuid();
    const Held name(in_the_making_, "name", config.name);
    const Held uuid(in_the_making_, "uuid", model::to_string(*config.uuid));
    co_await check_unique(config);
    co_await check_request(config);
    for (auto& vif : config.vifs)
        if (!vif.mac)
            vif.mac = model::make_mac();
    Work work;
    work.record.config = std::move(config);
    work.record.building = true;
    work.paused = paused;
    work.progress = progress ? std::move(progress) : [](std::string_view) {};
    co_await with_undo([&](UndoStack& undo) -> asio::awaitable<void> {
        co_await make_domain(work, undo);
        co_await fill_domain(work, undo);
        co_await attach_devices(work, undo);
        work.record.building = false;
        s_.records.save(work.record);
        if (!work.paused)
            s_.hypervisor.unpause(work.domid());
    });
    co_return Created{work.domid(), work.config().name, model::to_string(*work.config().uuid)};
}

asio::awaitable<void> Engine::make_domain(Work& work, UndoStack& undo) {
    const auto& config = work.config();
    work.progress("creating the domain");
    s_.records.save(work.record); // first of all: a domusd that dies from here on finds what to take back
    const model::Uuid uuid = *config.uuid;
    undo.push("record", [this, uuid]() -> asio::awaitable<void> {
        s_.records.remove(uuid);
        co_return;
    });
    client::DomainSpec spec;
    spec.uuid = uuid;
    spec.vcpus = config.max_vcpus;
    work.record.domid = s_.hypervisor.create_domain(spec);
    const std::uint16_t domid = work.domid();
    undo.push("domain", [this, domid]() -> asio::awaitable<void> {
        s_.hypervisor.destroy_domain(domid);
        co_return;
    });
    s_.records.save(work.record);
    s_.hypervisor.set_max_vcpus(domid, config.max_vcpus);
    s_.hypervisor.set_max_memory(domid, config.memory_kib + max_memory_slack_kib);
    if (config.tsc_mode != model::TscMode::Default)
        s_.hypervisor.set_tsc_native(domid);
    if (config.cpu_weight != 0 || config.cap != 0)
        s_.hypervisor.set_scheduler(domid, config.cpu_weight, config.cap);
    work.store_port = s_.hypervisor.alloc_unbound(domid, 0);
    work.console_port = s_.hypervisor.alloc_unbound(domid, 0);
    undo.push("xenstore nodes", [this, domid, uuid]() -> asio::awaitable<void> {
        co_await remove_domain(s_.store, domid, model::to_string(uuid));
    });
    co_await write_domain(s_.store, domid, config, std::to_string(s_.host.now()));
}

asio::awaitable<void> Engine::fill_domain(Work& work, UndoStack& undo) {
    const auto& config = work.config();
    const std::uint16_t domid = work.domid();
    build::Request request;
    request.domid = domid;
    request.kernel_path = config.kernel;
    if (!config.ramdisk.empty())
        request.ramdisk_path = config.ramdisk;
    request.cmdline = config.cmdline;
    request.memory_kib = config.memory_kib;
    request.max_memory_kib = config.max_memory_kib;
    request.vcpus = config.max_vcpus;
    request.store_evtchn = work.store_port;
    request.console_evtchn = work.console_port;
    const build::Result rings = co_await s_.builder.build(std::move(request), work.progress);
    work.progress("introducing the guest to xenstore and console");
    co_await write_rings(s_.store, domid, rings, work.store_port, work.console_port);
    undo.push("xenstore connection", [this, domid]() -> asio::awaitable<void> { co_await disconnect(domid); });
    co_await s_.store.introduce(domid, rings.store_mfn, work.store_port);
}

asio::awaitable<void> Engine::attach_devices(Work& work, UndoStack& undo) {
    const std::uint16_t domid = work.domid();
    if (work.config().disks.empty() && work.config().vifs.empty())
        co_return;
    undo.push("devices", [this, domid]() -> asio::awaitable<void> { co_await remove_devices(domid); });
    for (const auto& disk : work.config().disks) {
        work.progress(fmt::format("attaching disk {} ({})", disk.vdev, disk.target));
        const auto backend = co_await backend_domain(disk.backend_domain, std::to_string(domid));
        co_await blocks_.attach(domid, disk, backend);
    }
    for (const auto& vif : work.config().vifs) {
        work.progress(fmt::format("attaching network card {} to {}", model::to_string(*vif.mac), vif.bridge));
        const auto backend = co_await backend_domain(vif.backend_domain, std::to_string(domid));
        co_await networks_.attach(domid, vif, backend);
    }
}

} // namespace domus::engine
