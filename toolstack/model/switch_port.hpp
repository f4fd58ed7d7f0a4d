// Where a card stands on an Open vSwitch bridge, after vif-openvswitch's form of bridge=
// (xl-network-configuration(5)). Owner: model/. No lock. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace domus::model {

struct SwitchPort {
    std::string bridge;
    std::optional<unsigned> vlan; ///< of packets that the guest sees without a tag
    std::vector<unsigned> trunks; ///< VLANs whose packets keep their tags; none, and no `vlan`: all

    bool operator==(const SwitchPort&) const = default;
};

/// "BRIDGE[.VLAN][:TRUNK...]": what follows the last dot is a VLAN if it is all digits. Throws ValueError.
SwitchPort parse_switch_port(std::string_view text);

inline constexpr std::size_t longest_interface = 15; ///< IFNAMSIZ without its zero byte

/// A name for a network interface, `key` being whose it is. Throws ValueError.
std::string interface_name(std::string_view value, std::string_view key);

} // namespace domus::model
