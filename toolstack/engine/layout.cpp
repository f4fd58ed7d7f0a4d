// A guest's nodes in xenstore. Owner: the engine. No lock.
#include <utility>

#include "toolstack/engine/layout.hpp"

#include "toolstack/engine/xenbus.hpp"
#include "toolstack/model/uuid.hpp"

#include <fmt/format.h>
#include <map>

namespace domus::engine {

namespace {

using Permissions = std::vector<xenstore::Permission>;

/// dom0's, readable by the guest: all it is told.
Permissions readable(std::uint16_t domid) {
    return Permissions{{0, 'n'}, {domid, 'r'}};
}
/// The guest's own: all it may write.
Permissions owned(std::uint16_t domid) {
    return Permissions{{domid, 'n'}};
}

/// Nodes to be written in one go: a create writes eighty, and waiting for each took longer than all the rest of it.
struct Writer {
    std::vector<xenstore::Client::Node> nodes;

    /// A node whose parent came before it inherits, and saves a request when that is all it wants. They are all new.
    void put(std::string path, std::string value, Permissions permissions) {
        const auto parent = given_.find(path.substr(0, path.rfind('/')));
        const bool inherits = parent != given_.end() && parent->second == permissions;
        given_[path] = permissions;
        nodes.push_back({std::move(path), std::move(value), inherits ? Permissions() : std::move(permissions)});
    }

    void put_all(const std::string& below, const Nodes& all, const Permissions& permissions) {
        for (const auto& [name, value] : all)
            put(below + "/" + name, value, permissions);
    }

private:
    std::map<std::string, Permissions> given_;
};

void write_vm(Writer& to, std::uint16_t domid, const model::Domain& config, std::string start_time) {
    const std::string uuid = model::to_string(*config.uuid);
    Nodes nodes;
    nodes.emplace_back("name", config.name);
    nodes.emplace_back("uuid", uuid);
    nodes.emplace_back("image", "");
    nodes.emplace_back("image/ostype", "linux");
    nodes.emplace_back("image/kernel", config.kernel);
    if (!config.ramdisk.empty())
        nodes.emplace_back("image/ramdisk", config.ramdisk);
    nodes.emplace_back("image/cmdline", config.cmdline);
    nodes.emplace_back("start_time", start_time);
    to.put("/vm/" + uuid, "", readable(domid));
    to.put_all("/vm/" + uuid, nodes, readable(domid));
}

Nodes told_nodes(std::uint16_t domid, const model::Domain& config) {
    Nodes nodes;
    nodes.emplace_back("vm", "/vm/" + model::to_string(*config.uuid));
    nodes.emplace_back("name", config.name);
    nodes.emplace_back("domid", std::to_string(domid));
    nodes.emplace_back("cpu", "");
    for (unsigned i = 0; i < config.max_vcpus; ++i) {
        nodes.emplace_back(fmt::format("cpu/{}", i), "");
        nodes.emplace_back(fmt::format("cpu/{}/availability", i), i < config.vcpus ? "online" : "offline");
    }
    nodes.emplace_back("memory", "");
    nodes.emplace_back("memory/static-max", std::to_string(config.max_memory_kib));
    nodes.emplace_back("memory/target", std::to_string(config.memory_kib));
    nodes.emplace_back("memory/videoram", "0");
    nodes.emplace_back("device", "");
    nodes.emplace_back("device/suspend", "");
    nodes.emplace_back("control", "");
    nodes.emplace_back("control/platform-feature-multiprocessor-suspend", "1");
    nodes.emplace_back("control/platform-feature-xs_reset_watches", "1");
    nodes.emplace_back("store", "");
    nodes.emplace_back("console", "");
    return nodes;
}

Nodes owned_nodes() {
    Nodes nodes;
    for (const char* name :
         {"device/suspend/event-channel", "control/shutdown", "control/feature-poweroff", "control/feature-reboot",
          "control/feature-suspend", "control/sysrq", "data", "drivers", "feature", "attr", "error"})
        nodes.emplace_back(name, "");
    return nodes;
}

void write_console(Writer& to, std::uint16_t domid) {
    const std::string backend = fmt::format("/local/domain/0/backend/console/{}/0", domid);
    Nodes front, back;
    front.emplace_back("backend", backend);
    front.emplace_back("backend-id", "0");
    front.emplace_back("limit", "1048576");
    front.emplace_back("type", "xenconsoled");
    front.emplace_back("output", "pty");
    front.emplace_back("tty", "");
    back.emplace_back("frontend", domain_path(domid) + "/console");
    back.emplace_back("frontend-id", std::to_string(domid));
    back.emplace_back("online", "1");
    back.emplace_back("state", "1");
    back.emplace_back("protocol", "vt100");
    to.put_all(domain_path(domid) + "/console", front, readable(domid));
    to.put(backend, "", readable(domid));
    to.put_all(backend, back, readable(domid));
}

} // namespace

asio::awaitable<void> write_domain(xenstore::Client& store, std::uint16_t domid, const model::Domain& config,
                                   std::string start_time) {
    co_await store.transaction([&](Tx tx) -> asio::awaitable<void> {
        Writer to;
        const std::string path = domain_path(domid);
        co_await store.rm(path, tx); // a number may have been used before
        to.put(path, "", readable(domid));
        write_vm(to, domid, config, start_time);
        to.put_all(path, told_nodes(domid, config), readable(domid));
        to.put_all(path, owned_nodes(), owned(domid));
        write_console(to, domid);
        co_await store.write_nodes(std::move(to.nodes), tx);
    });
}

asio::awaitable<void> write_rings(xenstore::Client& store, std::uint16_t domid, const build::Result& rings,
                                  std::uint32_t store_port, std::uint32_t console_port) {
    Nodes nodes;
    nodes.emplace_back("store/port", std::to_string(store_port));
    nodes.emplace_back("store/ring-ref", std::to_string(rings.store_mfn));
    // The console daemon wakes up on these: the frame first, the port (which makes it connect) last.
    nodes.emplace_back("console/ring-ref", std::to_string(rings.console_mfn));
    nodes.emplace_back("console/port", std::to_string(console_port));
    co_await store.transaction([&](Tx tx) -> asio::awaitable<void> {
        Writer to;
        to.put_all(domain_path(domid), nodes, readable(domid));
        co_await store.write_nodes(std::move(to.nodes), tx);
    });
}

asio::awaitable<void> remove_domain(xenstore::Client& store, std::uint16_t domid, std::string uuid) {
    co_await store.rm(domain_path(domid));
    co_await remove_up(store, fmt::format("/local/domain/0/backend/console/{}/0", domid), "/local/domain/0/backend");
    if (!uuid.empty())
        co_await store.rm("/vm/" + uuid);
    co_await store.rm(fmt::format("/libxl/{}", domid));
}

namespace {

/// The directories above a driver domain's backend: dom0's, so that nobody makes devices up, and readable there.
asio::awaitable<void> put_home(xenstore::Client& store, Writer& to, std::uint16_t domid, std::string backend, Tx tx) {
    std::vector<std::string> above;
    for (auto path = backend.substr(0, backend.rfind('/')); path != domain_path(domid); path.resize(path.rfind('/')))
        above.push_back(path);
    for (auto path = above.rbegin(); path != above.rend(); ++path) {
        const auto there = co_await store.try_read(*path, tx);
        if (!there)
            to.put(*path, "", readable(domid));
    }
}

} // namespace

asio::awaitable<void> write_device(xenstore::Client& store, std::uint16_t domid, std::uint16_t backend_domid,
                                   std::string backend, Nodes backend_nodes, std::string frontend,
                                   Nodes frontend_nodes) {
    co_await store.transaction([&](Tx tx) -> asio::awaitable<void> {
        Writer to;
        const Permissions back{{backend_domid, 'n'}, {domid, 'r'}};
        const Permissions front{{domid, 'n'}, {backend_domid, 'r'}};
        // dom0's kernel probes a backend when its state appears, a guest its frontend: each state is the last.
        co_await store.rm(backend, tx);
        co_await store.rm(frontend, tx);
        // The directory of a kind ("device/vbd") is dom0's, so that a guest cannot make devices up.
        const std::string kind = frontend.substr(0, frontend.rfind('/'));
        const auto there = co_await store.try_read(kind, tx);
        if (!there)
            to.put(kind, "", readable(domid));
        if (backend_domid != 0)
            co_await put_home(store, to, backend_domid, backend, tx);
        to.put(frontend, "", front);
        to.put(backend, "", back);
        to.put_all(frontend, frontend_nodes, front);
        to.put_all(backend, backend_nodes, back);
        co_await store.write_nodes(std::move(to.nodes), tx);
    });
}

asio::awaitable<void> write_dom0(xenstore::Client& store) {
    const auto name = co_await store.try_read("/local/domain/0/name");
    if (!name || name->empty())
        co_await store.write("/local/domain/0/name", "Domain-0");
    const auto domid = co_await store.try_read("/local/domain/0/domid");
    if (!domid)
        co_await store.write("/local/domain/0/domid", "0");
}

} // namespace domus::engine
