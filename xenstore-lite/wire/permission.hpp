// One entry of a node's permission list, and its text form on the wire ("r5"). Plain values, no lock.
// Used by the client, the tree and the server.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace domus::xenstore {

/// What one domain may do with a node. The first entry of a list names the node's owner (who may do everything),
/// and its access is what domains not in the list may do.
struct Permission {
    std::uint16_t domid = 0;
    char access = 'n'; ///< 'n' nothing, 'r' read, 'w' write, 'b' both

    bool operator==(const Permission&) const = default;
};

namespace wire {

/// The wire's form, for example "b3".
std::string to_string(const Permission& permission);

/// Reads "b3". Empty on anything else: an unknown letter, no digits, a domain above 65535, trailing bytes.
std::optional<Permission> parse_permission(std::string_view text);

/// An unsigned decimal number with no sign, blank or trailing byte, not above `limit`.
std::optional<std::uint64_t> parse_decimal(std::string_view text, std::uint64_t limit);

} // namespace wire
} // namespace domus::xenstore
