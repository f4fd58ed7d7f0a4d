// Network cards of guests, served by Linux's xen-netback or by domus-netd. See network.hpp. Owner: the engine. No lock.
#include <utility>

#include "toolstack/engine/network.hpp"

#include "toolstack/engine/layout.hpp"
#include "toolstack/engine/undo.hpp"
#include "toolstack/model/mac.hpp"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <stdexcept>

namespace domus::engine {

namespace {

/// What each backend wants to itself.
void add_own_nodes(Nodes& nodes, const model::Vif& vif) {
    if (vif.backend == model::Backend::Kernel) {
        // xen-netback refuses a device without this node; nothing runs it, domusd does the script's work.
        nodes.emplace_back("script", "/etc/xen/scripts/vif-bridge");
        nodes.emplace_back("hotplug-status", ""); // and vifname, which connect() writes once the interface is called so
        return;
    }
    if (!vif.vifname.empty())
        nodes.emplace_back("vifname", vif.vifname);
    if (vif.mtu)
        nodes.emplace_back("mtu", std::to_string(*vif.mtu));
}

Nodes backend_nodes(DeviceId id, const model::Vif& vif, bool switched) {
    Nodes nodes;
    nodes.emplace_back("frontend", frontend_path("vif", id.domid, id.devid));
    nodes.emplace_back("frontend-id", std::to_string(id.domid));
    nodes.emplace_back("online", "1");
    nodes.emplace_back("mac", model::to_string(*vif.mac));
    nodes.emplace_back("bridge", vif.bridge);
    if (switched) // domus-netd keeps its hands off, and who takes the card away knows where it stands
        nodes.emplace_back("switch", "openvswitch");
    if (!vif.ip.empty())
        nodes.emplace_back("ip", vif.ip);
    if (vif.rate)
        nodes.emplace_back("rate", fmt::format("{},{}", vif.rate->bytes, vif.rate->interval_us));
    nodes.emplace_back("handle", std::to_string(id.devid));
    nodes.emplace_back("type", "vif");
    add_own_nodes(nodes, vif);
    nodes.emplace_back("state", state_text(XenbusState::Initialising));
    return nodes;
}

Nodes frontend_nodes(DeviceId id, const model::Vif& vif) {
    Nodes nodes;
    nodes.emplace_back("backend", backend_path(backend_kind(vif), id));
    nodes.emplace_back("backend-id", std::to_string(id.backend_domid));
    nodes.emplace_back("handle", std::to_string(id.devid));
    nodes.emplace_back("mac", model::to_string(*vif.mac));
    nodes.emplace_back("trusted", "1");
    if (vif.mtu)
        nodes.emplace_back("mtu", std::to_string(*vif.mtu));
    nodes.emplace_back("state", state_text(XenbusState::Initialising));
    return nodes;
}

std::string default_interface(DeviceId id) {
    return fmt::format("vif{}.{}", id.domid, id.devid);
}

std::string interface_of(DeviceId id, const model::Vif& vif) {
    return vif.vifname.empty() ? default_interface(id) : vif.vifname;
}

/// As xl's scripts have it: a port of another MTU than its bridge's loses packets, or lowers all the bridge's.
void take_mtu(model::Vif& vif, Host& host, const std::string& bridge) {
    constexpr std::uint32_t usual = 1500;
    const std::uint32_t mtu = host.interface_mtu(bridge);
    if (!vif.mtu && mtu >= 68 && mtu <= 65535 && mtu != usual)
        vif.mtu = mtu;
}

} // namespace

std::string backend_kind(const model::Vif& vif) {
    return vif.backend == model::Backend::Kernel ? "vif" : "domus-vif";
}

/// Where dom0 has the bridge: Open vSwitch's port, or nothing for Linux's own.
asio::awaitable<std::optional<model::SwitchPort>> Networks::find_bridge(model::Vif vif) {
    if (!vif.open_vswitch && host_.is_bridge(vif.bridge))
        co_return std::nullopt;
    const auto port = model::parse_switch_port(vif.bridge);
    const auto answer = co_await switch_.has_bridge(port.bridge);
    using Answer = OpenVswitch::Answer;
    if (answer.kind == Answer::Yes)
        co_return port;
    if (vif.open_vswitch || port.bridge != vif.bridge) { // it cannot be Linux's
        if (answer.kind == Answer::NotInstalled)
            throw std::runtime_error(
                fmt::format("vif: bridge={} needs Open vSwitch, and dom0 has no ovs-vsctl; run: apt "
                            "install openvswitch-switch",
                            vif.bridge));
        if (answer.kind == Answer::No)
            throw std::runtime_error(
                fmt::format("vif: there is no bridge {0} in dom0's Open vSwitch; make it (ovs-vsctl "
                            "add-br {0}) or name another by bridge=",
                            port.bridge));
        throw std::runtime_error(
            fmt::format("vif: Open vSwitch in dom0, which bridge={} needs: {}", vif.bridge, answer.reason));
    }
    if (host_.has_interface(vif.bridge))
        throw std::runtime_error(fmt::format("vif: dom0's interface {} is no bridge; name one by bridge=", vif.bridge));
    std::string elsewhere;
    if (answer.kind == Answer::No)
        elsewhere = fmt::format("; for one of Open vSwitch's: ovs-vsctl add-br {}", vif.bridge);
    else if (answer.kind == Answer::Silent)
        elsewhere = fmt::format("; if it is Open vSwitch's: {}", answer.reason);
    throw std::runtime_error(fmt::format("vif: there is no bridge {0} in dom0; make it (ip link add name {0} type "
                                         "bridge && ip link set {0} up) or name another by bridge={1}",
                                         vif.bridge, elsewhere));
}

asio::awaitable<std::optional<model::SwitchPort>> Networks::check(model::Vif vif, std::uint16_t backend_domid) {
    if (vif.backend == model::Backend::Kernel && !host_.has_backend_driver("vif"))
        throw std::runtime_error("dom0's kernel has no network backend loaded; run: modprobe xen-netback");
    std::optional<model::SwitchPort> port;
    if (backend_domid == 0) // another domain's backend says itself what it misses
        port = co_await find_bridge(vif);
    if (!vif.mac)
        co_return port;
    const std::string mac = model::to_string(*vif.mac);
    const auto others = co_await all_devices(store_, "vif");
    for (const auto& other : others) {
        const std::string kind = co_await backend_kind(store_, "vif", other);
        const std::string path = backend_path(kind, other);
        const auto their_mac = co_await store_.try_read(path + "/mac");
        const auto their_bridge = co_await store_.try_read(path + "/bridge");
        if (their_mac != mac || their_bridge != vif.bridge || other.backend_domid != backend_domid)
            continue;
        const std::string guest = co_await guest_text(store_, other.domid);
        throw std::runtime_error(fmt::format("vif: MAC address {} is in use by {} on bridge {}; take another, or leave "
                                             "mac= out to have one made",
                                             mac, guest, vif.bridge));
    }
    co_return port;
}

asio::awaitable<DeviceId> Networks::choose_id(std::uint16_t domid, const model::Vif& vif, std::uint16_t backend_domid) {
    const auto taken = co_await devices_of(store_, "vif", domid);
    const auto is_taken = [&](std::uint32_t devid) {
        return std::any_of(taken.begin(), taken.end(), [&](const DeviceId& id) { return id.devid == devid; });
    };
    if (vif.devid && is_taken(*vif.devid))
        throw std::runtime_error(
            fmt::format("domain {} has a network card {} already; leave devid= out", domid, *vif.devid));
    std::uint32_t devid = vif.devid.value_or(0);
    while (is_taken(devid))
        ++devid;
    co_return DeviceId{domid, devid, backend_domid};
}

asio::awaitable<std::uint32_t> Networks::attach(std::uint16_t domid, model::Vif vif, std::uint16_t backend_domid) {
    if (!vif.mac)
        vif.mac = model::make_mac();
    const auto port = co_await check(vif, backend_domid);
    if (backend_domid == 0)
        take_mtu(vif, host_, port ? port->bridge : vif.bridge);
    const DeviceId id = co_await choose_id(domid, vif, backend_domid);
    if (backend_domid == 0 && (port || !vif.vifname.empty())) // with a name of nobody's choice the number is its own
        require_free(interface_of(id, vif));
    const std::string kind = backend_kind(vif), back = backend_path(kind, id);
    co_await with_undo([&](UndoStack& undo) -> asio::awaitable<void> {
        undo.push(fmt::format("network card {}", id.devid),
                  [this, id]() -> asio::awaitable<void> { co_await detach(id, Closing::ByForce); });
        if (port)
            co_await add_port(id, vif, *port, undo);
        Nodes backend = backend_nodes(id, vif, port.has_value());
        Nodes frontend = frontend_nodes(id, vif);
        co_await write_device(store_, id.domid, id.backend_domid, back, std::move(backend),
                              frontend_path("vif", id.domid, id.devid), std::move(frontend));
        co_await wait_backend(store_, kind, id, patience_.backend);
        model::Vif to_connect = vif;
        if (port)
            to_connect.bridge.clear();
        if (vif.backend == model::Backend::Kernel) // domus-netd has set its interface up itself
            co_await connect(id, std::move(to_connect));
        if (port)
            co_await switch_.wait_port(interface_of(id, vif));
    });
    co_return id.devid;
}

/// Perhaps it is dom0's own, or a port of the switch already.
void Networks::require_free(const std::string& interface) {
    if (host_.has_interface(interface))
        throw std::runtime_error(fmt::format(
            "vif: dom0 has an interface {} already; take it away, or name this one by vifname=", interface));
}

/// The port stands in the switch's database before anything in the store: where this process dies in between, a port is
/// left that has no interface, and the next one of that name takes its place.
asio::awaitable<void> Networks::add_port(DeviceId id, model::Vif vif, model::SwitchPort port, UndoStack& undo) {
    std::string interface = interface_of(id, vif), bridge = port.bridge, mac = model::to_string(*vif.mac);
    undo.push("port " + interface, [this, bridge, interface]() -> asio::awaitable<void> {
        co_await remove_port(bridge, interface); // if nothing was written of the card yet
    });
    co_await switch_.add_port(std::move(port), std::move(interface), std::move(mac));
}

/// What is left in the database does no harm: see add_port().
asio::awaitable<void> Networks::remove_port(std::string bridge, std::string interface) {
    try {
        co_await switch_.remove_port(bridge, interface);
    } catch (const std::runtime_error& error) {
        spdlog::warn("{}; later: ovs-vsctl del-port {} {}", error.what(), bridge, interface);
    }
}

asio::awaitable<void> Networks::connect(DeviceId id, model::Vif vif) {
    const std::string back = backend_path("vif", id);
    const std::string interface = default_interface(id);
    // netback makes the interface just after it has said InitWait.
    const auto made = [&] { return host_.has_interface(interface); };
    const bool there = co_await poll_until(made, patience_.backend);
    if (!there)
        throw std::runtime_error(
            fmt::format("dom0's network backend made no interface {}; look into dom0's kernel log (dmesg)", interface));
    const std::string name = host_.connect_interface(interface, vif);
    co_await store_.transaction([&](Tx tx) -> asio::awaitable<void> {
        co_await store_.write(back + "/vifname", name, tx);
        co_await store_.write(back + "/hotplug-status", "connected", tx);
    });
}

asio::awaitable<bool> Networks::detach(DeviceId id, Closing how) {
    const std::string kind = co_await backend_kind(store_, "vif", id);
    const std::string back = backend_path(kind, id);
    const auto name = co_await store_.try_read(back + "/vifname");
    const auto bridge = co_await store_.try_read(back + "/bridge");
    const auto switched = co_await store_.try_read(back + "/switch");
    const bool closed = co_await close_device(store_, kind, id, how, patience_);
    if (!closed && how == Closing::ByGuest)
        co_return false;
    if (!closed)
        spdlog::warn("domain {}: network card {} did not close in time, its nodes are removed all the same", id.domid,
                     id.devid);
    co_await remove_device(store_, kind, id);
    if (id.backend_domid != 0)
        co_return true; // its interface is the other domain's
    const std::string interface = name.value_or(default_interface(id));
    if (switched && bridge)
        co_await remove_port(model::parse_switch_port(*bridge).bridge, interface);
    const auto removed = [&] { return !host_.has_interface(interface); };
    const bool gone = co_await poll_until(removed, patience_.release);
    if (!gone)
        spdlog::warn("domain {}: dom0 still has the interface {}", id.domid, interface);
    co_return true;
}

asio::awaitable<std::vector<NetworkState>> Networks::list(std::uint16_t domid) {
    std::vector<NetworkState> out;
    const auto devices = co_await devices_of(store_, "vif", domid);
    for (const auto& id : devices) {
        NetworkState card;
        card.devid = id.devid;
        card.backend_domid = id.backend_domid;
        const std::string kind = co_await backend_kind(store_, "vif", id);
        card.backend = backend_path(kind, id);
        const std::string front = frontend_path("vif", id.domid, id.devid);
        const auto mac = co_await store_.try_read(card.backend + "/mac");
        const auto bridge = co_await store_.try_read(card.backend + "/bridge");
        card.mac = mac.value_or("");
        card.bridge = bridge.value_or("");
        card.state = co_await read_state(store_, card.backend + "/state");
        const auto number = [&](std::string name) -> asio::awaitable<std::uint32_t> {
            const auto text = co_await store_.try_read(front + "/" + name);
            co_return to_number(text.value_or("")).value_or(0);
        };
        card.tx_ring = co_await number("tx-ring-ref");
        card.rx_ring = co_await number("rx-ring-ref");
        card.tx_port = co_await number("event-channel-tx");
        card.rx_port = co_await number("event-channel-rx");
        if (card.tx_port == 0) // one event channel for both ways
            card.tx_port = card.rx_port = co_await number("event-channel");
        out.push_back(std::move(card));
    }
    co_return out;
}

asio::awaitable<DeviceId> Networks::find(std::uint16_t domid, std::string device) {
    std::string mac = device;
    std::transform(mac.begin(), mac.end(), mac.begin(), [](unsigned char c) { return char(std::tolower(c)); });
    const auto cards = co_await list(domid);
    std::string there;
    for (const auto& card : cards) {
        const std::string name = fmt::format("vif{}", card.devid); // as `domus ring` calls it
        if (std::to_string(card.devid) == device || name == mac || card.mac == mac)
            co_return DeviceId{domid, card.devid, card.backend_domid};
        there += fmt::format("{}{} ({})", there.empty() ? "" : ", ", name, card.mac);
    }
    throw std::runtime_error(
        fmt::format("domain {} has no network card {}; it has {}", domid, device, there.empty() ? "none" : there));
}

} // namespace domus::engine
