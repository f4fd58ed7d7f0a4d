// What can be seen of guests' devices from outside: both ends' nodes, and the figures of who serves them.
// Owner: the engine. No lock. Frontends' nodes are the guests' words: shown, never trusted.
#pragma once

#include "toolstack/engine/device.hpp"
#include "toolstack/engine/host.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace domus::engine {

/// A node of one end that says what it can do: "feature-sg", "multi-queue-max-queues".
using Feature = std::pair<std::string, std::string>;

struct DeviceView {
    DeviceId id;
    std::string device; ///< "xvda", "vif0"
    std::string kind;   ///< "domus-vbd", "vbd", ...
    std::string backend;
    std::uint16_t backend_domid = 0;
    XenbusState backend_state = XenbusState::Absent, frontend_state = XenbusState::Absent;
    std::string error; ///< what the backend said when it gave up
    std::vector<Feature> offered, wanted;
    Figures figures;
};

/// Devices of one guest, or of all. `device` narrows to one: "vif0", "xvda", a number, a MAC address; it throws when
/// the guest has none such.
asio::awaitable<std::vector<DeviceView>> look_at_devices(xenstore::Client& store, Host& host,
                                                         std::optional<std::uint16_t> domid, std::string device);

} // namespace domus::engine
