// Ethernet addresses of guests. Owner: model/. No lock. Pure, but for the entropy make_mac() reads.
#pragma once

#include "toolstack/model/domain.hpp"

#include <string>
#include <string_view>

namespace domus::model {

/// Parses "00:16:3e:01:02:03". Throws ValueError for anything else, for a multicast or for the all-zero address.
Mac parse_mac(std::string_view text);

/// "00:16:3e:01:02:03", lower case.
std::string to_string(const Mac& mac);

/// A random address in the range that IEEE assigned to Xen, 00:16:3e:00:00:00 to 00:16:3e:7f:ff:ff.
Mac make_mac();

} // namespace domus::model
