// Text form of permissions and numbers. See permission.hpp.
#include "xenstore-lite/wire/permission.hpp"

#include <charconv>

namespace domus::xenstore::wire {

std::string to_string(const Permission& permission) {
    return permission.access + std::to_string(permission.domid);
}

std::optional<std::uint64_t> parse_decimal(std::string_view text, std::uint64_t limit) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value > limit) {
        return std::nullopt;
    }
    return value;
}

std::optional<Permission> parse_permission(std::string_view text) {
    if (text.empty() || std::string_view("nrwb").find(text[0]) == std::string_view::npos) {
        return std::nullopt;
    }
    const auto domid = parse_decimal(text.substr(1), 0xffff);
    if (!domid) {
        return std::nullopt;
    }
    return Permission{static_cast<std::uint16_t>(*domid), text[0]};
}

} // namespace domus::xenstore::wire
