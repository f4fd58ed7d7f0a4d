// Where a card stands on an Open vSwitch bridge. Owner: model/. No lock. Pure.
#include "toolstack/model/switch_port.hpp"

#include "toolstack/model/text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace domus::model {

namespace {

constexpr std::string_view digits = "0123456789";

unsigned vlan_number(std::string_view text, std::string_view whole) {
    const bool number = !text.empty() && text.size() <= 4 && text.find_first_not_of(digits) == std::string_view::npos;
    const unsigned value = number ? unsigned(std::stoul(std::string(text))) : 0;
    if (value < 1 || value > 4094)
        throw ValueError(0, fmt::format("bridge {}: {} is no VLAN", in_quotes(whole), in_quotes(text)),
                         "VLANs are 1 to 4094: bridge=ovs0.10, or bridge=ovs0:10:20 for several with their tags");
    return value;
}

} // namespace

std::string interface_name(std::string_view value, std::string_view key) {
    // One that begins with a dash would be taken for an option where programs are given it.
    if (value.empty() || value.size() > longest_interface || value == "." || value == ".." || value.front() == '-' ||
        value.find_first_of("/ \t:") != std::string_view::npos)
        throw ValueError(0, fmt::format("{} is {}, not a name of a network interface", key, in_quotes(value)),
                         "1 to 15 letters and digits, like xenbr0");
    for (unsigned char c : value)
        if (c < 0x21 || c == 0x7f)
            throw ValueError(0, fmt::format("{} has a control byte: {}", key, in_quotes(value)));
    return std::string(value);
}

SwitchPort parse_switch_port(std::string_view text) {
    SwitchPort port;
    const std::size_t colon = std::min(text.find(':'), text.size());
    std::string_view name = text.substr(0, colon);
    const auto dot = name.rfind('.');
    if (dot != std::string_view::npos && dot + 1 < name.size() &&
        name.find_first_not_of(digits, dot + 1) == std::string_view::npos) {
        port.vlan = vlan_number(name.substr(dot + 1), text);
        name = name.substr(0, dot);
    }
    port.bridge = interface_name(name, "bridge");
    for (std::size_t at = colon; at < text.size();) {
        const std::size_t end = std::min(text.find(':', at + 1), text.size());
        port.trunks.push_back(vlan_number(text.substr(at + 1, end - at - 1), text));
        at = end;
    }
    return port;
}

} // namespace domus::model
