// Disks of guests, served by Linux's xen-blkback or by domus-blockd. Owner: the engine. No lock.
#include <utility>

#include "toolstack/engine/block.hpp"

#include "toolstack/engine/layout.hpp"
#include "toolstack/engine/undo.hpp"
#include "toolstack/model/disk.hpp"
#include "toolstack/model/vdev.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <stdexcept>

namespace domus::engine {

namespace {

std::string server_name(DeviceId id) {
    return fmt::format("{}-{}", id.domid, id.devid);
}

Nodes backend_nodes(DeviceId id, const model::Disk& disk, const std::string& params, const std::string& node) {
    Nodes nodes;
    nodes.emplace_back("frontend", frontend_path("vbd", id.domid, id.devid));
    nodes.emplace_back("params", params);
    nodes.emplace_back("node", node);
    nodes.emplace_back("frontend-id", std::to_string(id.domid));
    nodes.emplace_back("online", "1");
    nodes.emplace_back("removable", disk.cdrom ? "1" : "0");
    nodes.emplace_back("bootable", "1");
    nodes.emplace_back("dev", disk.vdev);
    nodes.emplace_back("type", "phy");
    nodes.emplace_back("mode", disk.read_only ? "r" : "w");
    nodes.emplace_back("device-type", disk.cdrom ? "cdrom" : "disk");
    nodes.emplace_back("discard-enable", disk.discard ? "1" : "0");
    if (disk.persistent && disk.backend == model::Backend::User)
        nodes.emplace_back("persistent-enable", *disk.persistent ? "1" : "0");
    nodes.emplace_back("specification", "xen");
    nodes.emplace_back("state", state_text(XenbusState::Initialising));
    return nodes;
}

Nodes frontend_nodes(DeviceId id, const model::Disk& disk) {
    Nodes nodes;
    nodes.emplace_back("backend", backend_path(backend_kind(disk), id));
    nodes.emplace_back("backend-id", std::to_string(id.backend_domid));
    nodes.emplace_back("virtual-device", std::to_string(id.devid));
    nodes.emplace_back("device-type", disk.cdrom ? "cdrom" : "disk");
    nodes.emplace_back("trusted", "1");
    nodes.emplace_back("state", state_text(XenbusState::Initialising));
    return nodes;
}

} // namespace

std::string backend_kind(const model::Disk& disk) {
    return disk.backend == model::Backend::Kernel ? "vbd" : "domus-vbd";
}

asio::awaitable<void> Blocks::check(model::Disk disk, std::uint16_t backend_domid) {
    if (backend_domid != 0)
        co_return; // the other domain's files and devices: its backend says what is wrong with them
    if (disk.backend == model::Backend::Kernel && !host_.has_backend_driver("vbd"))
        throw std::runtime_error("dom0's kernel has no block backend loaded; run: modprobe xen-blkback");
    const std::string identity = host_.disk_identity(disk.target);
    if (identity.empty() && disk.target.starts_with("/dev/"))
        throw std::runtime_error(fmt::format("disk {}: {} is not there; check the name: what has no / in front is a "
                                             "device in /dev, of an image write the whole path",
                                             disk.vdev, disk.target));
    if (identity.empty())
        throw std::runtime_error(
            fmt::format("disk {}: {} is not there; check the path, or make an image: truncate -s 1G {}", disk.vdev,
                        disk.target, disk.target));
    const auto others = co_await all_devices(store_, "vbd");
    for (const auto& other : others) {
        if (other.backend_domid != 0)
            continue;
        const std::string kind = co_await backend_kind(store_, "vbd", other);
        const std::string path = backend_path(kind, other);
        const auto params = co_await store_.try_read(path + "/params");
        const auto mode = co_await store_.try_read(path + "/mode");
        const auto image = co_await store_.try_read(path + "/node"); // behind a server of ours
        const bool same =
            params && (host_.disk_identity(*params) == identity ||
                       (model::is_remote(*params) && host_.disk_identity(image.value_or("")) == identity));
        if (!same || (disk.read_only && mode == "r"))
            continue;
        const std::string vdev = model::vdev_name(other.devid);
        const std::string guest = co_await guest_text(store_, other.domid);
        throw std::runtime_error(
            fmt::format("disk {}: {} is in use by {} as {}; detach it there (domus block-detach {} "
                        "{}), or give it to both read-only (access=ro)",
                        disk.vdev, disk.target, guest, vdev, other.domid, vdev));
    }
}

asio::awaitable<std::uint32_t> Blocks::attach(std::uint16_t domid, model::Disk disk, std::uint16_t backend_domid) {
    const DeviceId id{domid, model::vdev_number(disk.vdev), backend_domid};
    const std::string kind = backend_kind(disk), back = backend_path(kind, id);
    const auto taken = co_await devices_of(store_, "vbd", domid);
    for (const auto& other : taken)
        if (other.devid == id.devid)
            throw std::runtime_error(
                fmt::format("domain {} has a disk {} already; take another name", domid, disk.vdev));
    co_await check(disk, backend_domid);
    std::unique_ptr<OpenDisk> open;
    if (backend_domid == 0)
        open = host_.open_disk(disk);
    co_await with_undo([&](UndoStack& undo) -> asio::awaitable<void> {
        undo.push("disk " + disk.vdev, [this, id, &open]() -> asio::awaitable<void> {
            open.reset(); // detach() waits until nobody has the disk open
            co_await detach(id, Closing::ByForce);
            co_await end_server(id); // if nothing was written of it yet
        });
        const std::string node = open ? open->node : disk.target;
        if (disk.backend == model::Backend::User)
            open.reset(); // it was opened to be looked at; domus-blockd wants a block device for itself
        const bool served = disk.format != "raw";
        if (served)
            co_await start_server(id, disk);
        Nodes backend = backend_nodes(id, disk, served ? host_.image_server(server_name(id)) : disk.target, node);
        Nodes frontend = frontend_nodes(id, disk);
        co_await write_device(store_, id.domid, id.backend_domid, back, std::move(backend),
                              frontend_path("vbd", id.domid, id.devid), std::move(frontend));
        co_await wait_backend(store_, kind, id, patience_.backend);
        if (open) // domus-blockd has opened the disk itself
            co_await connect(id, *open);
    });
    co_return id.devid;
}

asio::awaitable<void> Blocks::start_server(DeviceId id, model::Disk disk) {
    const std::string name = server_name(id);
    host_.start_image_server(name, disk);
    const auto ready = [&] { return host_.image_server_ready(name); };
    bool answers = false;
    try {
        answers = co_await poll_until(ready, patience_.backend);
    } catch (const std::runtime_error& error) {
        throw std::runtime_error(fmt::format("disk {}: {}: {}", disk.vdev, disk.target, error.what()));
    }
    if (!answers)
        throw std::runtime_error(fmt::format("disk {}: {}: qemu-nbd does not answer", disk.vdev, disk.target));
}

asio::awaitable<void> Blocks::end_server(DeviceId id) {
    const std::string name = server_name(id);
    host_.end_image_server(name);
    const auto gone = [&] { return host_.image_server_gone(name); };
    const bool ended = co_await poll_until(gone, patience_.release);
    if (!ended)
        spdlog::warn("domain {}: the server of disk {}'s image is still writing, it ends by itself", id.domid,
                     id.devid);
}

asio::awaitable<void> Blocks::connect(DeviceId id, const OpenDisk& open) {
    const std::string back = backend_path("vbd", id);
    const std::string device = fmt::format("{:x}:{:x}", open.device_major, open.device_minor);
    co_await store_.transaction([&](Tx tx) -> asio::awaitable<void> {
        co_await store_.write(back + "/physical-device", device, tx);
        co_await store_.write(back + "/hotplug-status", "connected", tx);
    });
    const auto opened = [&] { return host_.block_backend_open(id.domid, id.devid); };
    const bool ready = co_await poll_until(opened, patience_.backend);
    if (ready)
        co_return;
    const auto error = co_await store_.try_read(error_path("vbd", id));
    throw std::runtime_error(fmt::format("dom0's block backend did not open {}{}; look into dom0's kernel log (dmesg)",
                                         open.node, error ? ": " + *error : ""));
}

asio::awaitable<bool> Blocks::detach(DeviceId id, Closing how) {
    const std::string kind = co_await backend_kind(store_, "vbd", id);
    const std::string back = backend_path(kind, id);
    const auto params = co_await store_.try_read(back + "/params");
    const auto node = co_await store_.try_read(back + "/node");
    const bool closed = co_await close_device(store_, kind, id, how, patience_);
    if (!closed && how == Closing::ByGuest)
        co_return false;
    if (!closed)
        spdlog::warn("domain {}: disk {} did not close in time, its nodes are removed all the same", id.domid,
                     id.devid);
    co_await remove_device(store_, kind, id);
    if (!node || node == params)
        co_return true; // a block device of its own, nothing was made for it
    if (params == host_.image_server(server_name(id)))
        co_await end_server(id);
    const auto released = [&] { return host_.disk_released(*node); };
    const bool gone = co_await poll_until(released, patience_.release);
    if (!gone)
        spdlog::warn("domain {}: {} is still open in dom0, it goes away with its last user", id.domid, *node);
    co_return true;
}

asio::awaitable<void> Blocks::resize(std::uint16_t domid, std::string device) {
    const DeviceId id = co_await find(domid, device);
    const std::string kind = co_await backend_kind(store_, "vbd", id);
    if (kind != "domus-vbd")
        throw std::runtime_error(
            fmt::format("disk {} of domain {} is served by dom0's kernel, which looks at sizes only "
                        "when a guest connects; use backendtype=domus",
                        device, domid));
    const std::string back = backend_path(kind, id);
    co_await store_.write(back + "/resize", "1"); // the backend takes it away when it has looked
    asio::steady_timer timer(co_await asio::this_coro::executor);
    const auto end = std::chrono::steady_clock::now() + patience_.backend;
    for (;;) {
        const auto waits = co_await store_.try_read(back + "/resize");
        if (!waits)
            break;
        if (std::chrono::steady_clock::now() > end)
            throw std::runtime_error(fmt::format("domus-blockd does not answer for disk {} of domain {}; does it run, "
                                                 "and is the guest connected to it? (domus ring {} {})",
                                                 device, domid, domid, device));
        timer.expires_after(std::chrono::milliseconds(20));
        co_await timer.async_wait(asio::use_awaitable);
    }
    const auto error = co_await store_.try_read(back + "/resize-error");
    if (error && !error->empty())
        throw std::runtime_error(*error);
}

asio::awaitable<std::vector<BlockState>> Blocks::list(std::uint16_t domid) {
    std::vector<BlockState> out;
    const auto devices = co_await devices_of(store_, "vbd", domid);
    for (const auto& id : devices) {
        BlockState disk;
        disk.devid = id.devid;
        disk.backend_domid = id.backend_domid;
        disk.vdev = model::vdev_name(id.devid);
        const std::string kind = co_await backend_kind(store_, "vbd", id);
        disk.backend = backend_path(kind, id);
        const std::string front = frontend_path("vbd", id.domid, id.devid);
        const auto params = co_await store_.try_read(disk.backend + "/params");
        const auto mode = co_await store_.try_read(disk.backend + "/mode");
        const auto port = co_await store_.try_read(front + "/event-channel");
        const auto ring = co_await store_.try_read(front + "/ring-ref");
        disk.state = co_await read_state(store_, disk.backend + "/state");
        const auto image = co_await store_.try_read(disk.backend + "/node");
        disk.target = params && image && model::is_remote(*params) ? *image : params.value_or("");
        disk.read_only = mode == "r";
        disk.event_channel = to_number(port.value_or("")).value_or(0);
        disk.ring_ref = to_number(ring.value_or("")).value_or(0);
        out.push_back(std::move(disk));
    }
    co_return out;
}

asio::awaitable<DeviceId> Blocks::find(std::uint16_t domid, std::string device) {
    const std::uint32_t wanted = model::vdev_number(device);
    const auto devices = co_await devices_of(store_, "vbd", domid);
    std::string there;
    for (const auto& id : devices) {
        if (id.devid == wanted)
            co_return id;
        there += (there.empty() ? "" : ", ") + model::vdev_name(id.devid);
    }
    throw std::runtime_error(
        fmt::format("domain {} has no disk {}; it has {}", domid, device, there.empty() ? "none" : there));
}

} // namespace domus::engine
