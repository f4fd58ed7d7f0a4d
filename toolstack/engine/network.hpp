// Network cards of guests, served by Linux's xen-netback or by domus-netd, on a bridge of Linux's or of Open
// vSwitch's. Owner: the engine. No lock; the guest's turn is held by the caller.
#pragma once

#include "toolstack/engine/device.hpp"
#include "toolstack/engine/host.hpp"
#include "toolstack/engine/openvswitch.hpp"
#include "toolstack/engine/undo.hpp"

#include <optional>
#include <string>
#include <vector>

namespace domus::engine {

struct NetworkState {
    std::uint32_t devid = 0;
    std::uint16_t backend_domid = 0;
    std::string mac, bridge, backend;
    XenbusState state = XenbusState::Absent;
    std::uint32_t tx_port = 0, rx_port = 0, tx_ring = 0, rx_ring = 0; // as the guest says; 0: not yet
};

/// "vif" or "domus-vif": whose backend this card wants.
std::string backend_kind(const model::Vif& vif);

class Networks {
public:
    Networks(xenstore::Client& store, Host& host, Patience patience = {})
        : store_(store), host_(host), patience_(patience), switch_(host, patience) {}

    // `backend_domid`: the domain whose backend serves it, dom0 or a driver domain.

    /// Refuses a card whose bridge is absent or whose MAC address another guest has on the same bridge. Returns the
    /// port, if the bridge is Open vSwitch's.
    asio::awaitable<std::optional<model::SwitchPort>> check(model::Vif vif, std::uint16_t backend_domid = 0);
    /// Attaches and waits until the interface is up on its bridge. Makes a MAC address when there is none.
    /// Leaves nothing behind when it throws.
    asio::awaitable<std::uint32_t> attach(std::uint16_t domid, model::Vif vif, std::uint16_t backend_domid = 0);
    /// Closes the card, removes its nodes and waits until its interface is gone. False, with everything left as it is,
    /// when the guest does not let go (Closing::ByGuest only).
    asio::awaitable<bool> detach(DeviceId id, Closing how);
    asio::awaitable<std::vector<NetworkState>> list(std::uint16_t domid);
    /// The card named by its number or its MAC address. Throws when the guest has none such.
    asio::awaitable<DeviceId> find(std::uint16_t domid, std::string device);

private:
    asio::awaitable<DeviceId> choose_id(std::uint16_t domid, const model::Vif& vif, std::uint16_t backend_domid);
    asio::awaitable<std::optional<model::SwitchPort>> find_bridge(model::Vif vif);
    void require_free(const std::string& interface);
    asio::awaitable<void> add_port(DeviceId id, model::Vif vif, model::SwitchPort port, UndoStack& undo);
    asio::awaitable<void> remove_port(std::string bridge, std::string interface);
    asio::awaitable<void> connect(DeviceId id, model::Vif vif);

    xenstore::Client& store_;
    Host& host_;
    Patience patience_;
    OpenVswitch switch_;
};

} // namespace domus::engine
