// Ports of Open vSwitch bridges for guests' cards, by its own tool ovs-vsctl. Owner: Networks. No lock; the guest's
// turn is held by the caller. A port stands in the switch's database by its interface's name: ovs-vswitchd takes the
// interface up when it appears, and again when a new domus-netd has made it anew. Nothing here waits without a bound.
#pragma once

#include "toolstack/engine/device.hpp"
#include "toolstack/engine/host.hpp"
#include "toolstack/model/switch_port.hpp"

#include <string>
#include <vector>

namespace domus::engine {

class OpenVswitch {
public:
    OpenVswitch(Host& host, Patience patience) : host_(host), patience_(patience) {}

    struct Answer {
        enum { Yes, No, NotInstalled, Silent } kind = Silent;
        std::string reason; ///< of Silent: what ovs-vsctl says
    };
    asio::awaitable<Answer> has_bridge(std::string bridge);
    /// The bridge's port from now on. One of the same name that was left there, on any bridge, is replaced: the caller
    /// knows that no interface has the name.
    asio::awaitable<void> add_port(model::SwitchPort port, std::string interface, std::string mac);
    /// Waits until ovs-vswitchd has taken the interface, which is there, on.
    asio::awaitable<void> wait_port(std::string interface);
    /// No matter if there is none. Does not need ovs-vswitchd.
    asio::awaitable<void> remove_port(std::string bridge, std::string interface);

private:
    /// Runs ovs-vsctl; the answer's status is -1 where it is not installed.
    asio::awaitable<Ended> run(std::vector<std::string> words);

    Host& host_;
    Patience patience_;
};

/// The words behind ovs-vsctl's general options.
std::vector<std::string> add_port_words(const model::SwitchPort& port, const std::string& interface,
                                        const std::string& mac);

} // namespace domus::engine
