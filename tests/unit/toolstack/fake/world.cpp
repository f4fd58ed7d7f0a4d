// The engine with fakes on all sides. See world.hpp.
#include <utility>

#include "tests/unit/toolstack/fake/world.hpp"

#include "toolstack/model/disk.hpp"
#include "toolstack/model/uuid.hpp"
#include "toolstack/model/vif.hpp"

#include <cstdlib>
#include <filesystem>
#include <spdlog/sinks/ostream_sink.h>

namespace domus::engine::test {

asio::awaitable<build::Result> FakeBuilder::build(build::Request request, Progress progress) {
    last = request;
    progress("reading the kernel");
    faults_.step("build");
    hypervisor_.populate(request.domid, request.memory_kib / 4);
    if (const auto once = std::exchange(meanwhile, nullptr))
        co_await once();
    build::Result rings;
    rings.store_mfn = 1000;
    rings.console_mfn = 1001;
    co_return rings;
}

World::World(Patience patience) {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_st>(*log_);
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
    folder = (std::filesystem::temp_directory_path() / "domus-world-XXXXXX").string();
    if (!::mkdtemp(folder.data()))
        throw std::runtime_error("cannot make a temporary folder");
    store = std::make_unique<StoreServer>(io, folder + "/xenstore", faults);
    kernel = std::make_unique<FakeKernel>(*store, host);
    store->changed = [this] { kernel->react(); };
    store->exists = [this](std::uint16_t domid) { return hypervisor.domains_by_id.contains(domid); };
    for (const char* path : {"/vm", "/libxl", "/local/domain/0/backend"}) // there on every machine
        store->write(path, "");
    client = run(xenstore::Client::connect(folder + "/xenstore"));
    engine = std::make_unique<Engine>(Services{hypervisor, *client, host, builder, records, patience});
    run(engine->start());
}

World::~World() {
    client.reset();
    store.reset();
    io.restart();
    io.poll(); // coroutines that wait for the sockets come to their ends
    std::filesystem::remove_all(folder);
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test"));
}

void World::wait(const std::function<bool()>& done) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    io.restart();
    while (!done()) {
        io.run_one_for(std::chrono::milliseconds(10));
        io.restart();
        if (std::chrono::steady_clock::now() > give_up)
            throw std::runtime_error("the coroutine does not come to an end");
    }
}

model::Domain World::guest(const std::string& name) const {
    std::vector<std::string> warnings;
    model::Domain config;
    config.name = name;
    config.kernel = "/boot/vmlinuz";
    config.ramdisk = "/boot/initrd";
    config.cmdline = "quiet";
    config.disks.push_back(model::parse_disk("/srv/a.img,raw,xvda,rw,backendtype=linux", warnings));
    config.vifs.push_back(model::parse_vif("mac=00:16:3e:00:00:01,backendtype=linux", warnings));
    return config;
}

void World::end(std::uint16_t domid, client::ShutdownReason reason) {
    hypervisor.end(domid, reason);
    announce_domains();
}

void World::announce_domains() {
    std::vector<xenstore::tree::DomainState> now;
    for (const auto& info : hypervisor.domains())
        now.push_back({info.domid, info.shutdown, info.dying});
    store->domains_changed(now);
}

std::map<std::string, std::string> World::traces() const {
    auto all = store->dump();
    for (const auto& [domid, domain] : hypervisor.domains_by_id)
        all[fmt::format("domain {}", domid)];
    for (const auto& [uuid, record] : records.kept)
        all["record " + record.config.name];
    for (const auto& name : host.interfaces)
        all["interface " + name];
    for (const auto& [name, how] : host.ports)
        all["port " + name] = how;
    for (const auto& node : host.held)
        all["held " + node];
    for (const auto& [device, node] : host.opened)
        all["open in the backend: " + node];
    all["free memory"] = std::to_string(hypervisor.machine.free_pages);
    for (std::uint16_t domid = 1; domid < hypervisor.next_domid; ++domid)
        if (store->introduced(domid))
            all[fmt::format("connection of domain {}", domid)];
    return all;
}

} // namespace domus::engine::test
