// Ending a guest and taking its devices away. Part of Engine; see engine.hpp.
#include <utility>

#include "toolstack/engine/engine.hpp"

#include "toolstack/engine/layout.hpp"
#include "toolstack/model/mac.hpp"
#include "toolstack/model/uuid.hpp"
#include "toolstack/model/vdev.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace domus::engine {

void Engine::require_guest(std::uint16_t domid, const char* what, const char* instead) {
    if (domid == 0)
        throw std::runtime_error(
            fmt::format("Domain-0 is the machine's own domain, domus does not {} it; {}", what, instead));
}

asio::awaitable<void> Engine::destroy(std::uint16_t domid) {
    require_guest(domid, "destroy", "use poweroff or reboot there");
    const auto turn = co_await turns_.take(domid);
    co_await take_down(domid);
}

asio::awaitable<void> Engine::take_down(std::uint16_t domid) {
    const auto info = s_.hypervisor.domain_info(domid);
    const auto record = record_of(domid);
    if (!info && !record)
        throw std::runtime_error(fmt::format("there is no domain {} any more", domid));
    if (info && !info->dying)
        s_.hypervisor.pause(domid); // it must not touch its devices while they go
    co_await remove_devices(domid);
    co_await abandon_served(domid);
    const model::Uuid uuid = info ? info->uuid : *record->config.uuid;
    co_await disconnect(domid);
    co_await remove_domain(s_.store, domid, model::to_string(uuid));
    if (info)
        s_.hypervisor.destroy_domain(domid);
    s_.records.remove(uuid);
}

asio::awaitable<void> Engine::disconnect(std::uint16_t domid) {
    const bool introduced = co_await s_.store.is_introduced(domid);
    if (introduced)
        co_await s_.store.release(domid);
}

asio::awaitable<void> Engine::remove_devices(std::uint16_t domid) {
    const auto disks = co_await devices_of(s_.store, "vbd", domid);
    for (const auto& id : disks)
        co_await blocks_.detach(id, Closing::ByForce);
    const auto cards = co_await devices_of(s_.store, "vif", domid);
    for (const auto& id : cards)
        co_await networks_.detach(id, Closing::ByForce);
}

/// A driver domain has ended: what it served is taken from the others as if it had been pulled out. Nobody closes it.
asio::awaitable<void> Engine::abandon_served(std::uint16_t domid) {
    for (const char* kind : {"vbd", "vif"}) {
        const auto served = co_await served_by(s_.store, kind, domid);
        for (const auto& id : served) {
            std::string ours = fmt::format("domus-{}", kind);
            const std::string guest = co_await guest_text(s_.store, id.domid);
            spdlog::warn(
                "{} loses its {} {}: domain {}, which served it, has ended; attach it again when there is another",
                guest, ours == "domus-vbd" ? "disk" : "network card",
                ours == "domus-vbd" ? model::vdev_name(id.devid) : std::to_string(id.devid), domid);
            co_await remove_device(s_.store, std::move(ours), id);
        }
    }
}

asio::awaitable<std::uint16_t> Engine::backend_domain(std::string name, std::string guest) {
    if (name.empty())
        co_return 0;
    std::string wrong;
    std::uint16_t domid = 0;
    try {
        domid = co_await resolve(name);
    } catch (const std::runtime_error& e) {
        wrong = e.what();
    }
    if (!wrong.empty())
        throw std::runtime_error(fmt::format("backend={}: {}; create it first", name, wrong));
    const auto info = s_.hypervisor.domain_info(domid);
    if (!info || info->dying || info->shutdown)
        throw std::runtime_error(fmt::format("backend={}: that guest has ended; create it anew first", name));
    if (name == guest || std::to_string(domid) == guest)
        throw std::runtime_error(fmt::format("backend={}: a guest cannot serve itself; leave backend= out", name));
    co_return domid;
}

asio::awaitable<std::uint32_t> Engine::attach_disk(std::uint16_t domid, model::Disk disk) {
    require_guest(domid, "attach disks to");
    const auto turn = co_await turns_.take(domid);
    DeviceId id{domid, 0};
    co_await with_undo([&](UndoStack& undo) -> asio::awaitable<void> {
        id.backend_domid = co_await backend_domain(disk.backend_domain, std::to_string(domid));
        id.devid = co_await blocks_.attach(domid, disk, id.backend_domid);
        undo.push("disk " + disk.vdev,
                  [this, id]() -> asio::awaitable<void> { co_await blocks_.detach(id, Closing::ByForce); });
        if (auto record = record_of(domid)) { // so that it is there again after a restart
            record->config.disks.push_back(disk);
            s_.records.save(*record);
        }
    });
    co_return id.devid;
}

asio::awaitable<std::uint32_t> Engine::attach_vif(std::uint16_t domid, model::Vif vif) {
    require_guest(domid, "attach network cards to");
    const auto turn = co_await turns_.take(domid);
    if (!vif.mac)
        vif.mac = model::make_mac();
    DeviceId id{domid, 0};
    co_await with_undo([&](UndoStack& undo) -> asio::awaitable<void> {
        id.backend_domid = co_await backend_domain(vif.backend_domain, std::to_string(domid));
        id.devid = co_await networks_.attach(domid, vif, id.backend_domid);
        undo.push("network card",
                  [this, id]() -> asio::awaitable<void> { co_await networks_.detach(id, Closing::ByForce); });
        if (auto record = record_of(domid)) {
            vif.devid = id.devid;
            record->config.vifs.push_back(vif);
            s_.records.save(*record);
        }
    });
    co_return id.devid;
}

asio::awaitable<void> Engine::detach(std::uint16_t domid, std::string kind, std::string device, bool force) {
    require_guest(domid, "detach devices from");
    const auto turn = co_await turns_.take(domid);
    const bool disk = kind == "vbd";
    DeviceId id{domid, 0};
    if (disk)
        id = co_await blocks_.find(domid, device);
    else
        id = co_await networks_.find(domid, device);
    const std::string backend = co_await backend_kind(s_.store, kind, id);
    const auto mac = co_await s_.store.try_read(backend_path(backend, id) + "/mac");
    const Closing how = force ? Closing::ByForce : Closing::ByGuest;
    bool closed = false;
    if (disk)
        closed = co_await blocks_.detach(id, how);
    else
        closed = co_await networks_.detach(id, how);
    if (!closed)
        co_await refuse_open(s_.store, backend, id, device);
    auto record = record_of(domid);
    if (!record)
        co_return;
    if (disk)
        std::erase_if(record->config.disks, [&](const auto& d) { return model::vdev_number(d.vdev) == id.devid; });
    else
        std::erase_if(record->config.vifs, [&](const auto& v) { return v.mac && mac == model::to_string(*v.mac); });
    s_.records.save(*record);
}

std::optional<Record> Engine::record_of(std::uint16_t domid) {
    for (auto& record : s_.records.load())
        if (record.domid == domid)
            return std::move(record);
    return {};
}

} // namespace domus::engine
