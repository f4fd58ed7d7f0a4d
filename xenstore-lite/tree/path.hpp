// Paths: which are legal, which belongs below which. Pure functions.
// Everything below tree/ works on absolute paths that went through resolve() once; nothing else checks them again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "xenstore-lite/tree/outcome.hpp"

namespace domus::xenstore::tree {

/// "/local/domain/<domid>", the base of a domain's relative paths.
std::string home_of(std::uint16_t domid);

/// The absolute form of a path a client of domain `domid` sent. EINVAL for what the protocol forbids: empty,
/// a character outside [A-Za-z0-9-/_@], a doubled or trailing slash, more than XENSTORE_ABS_PATH_MAX bytes
/// (XENSTORE_REL_PATH_MAX for a relative one; the absolute form never exceeds the absolute limit).
Outcome<std::string> resolve(std::string_view path, std::uint16_t domid);

/// "@introduceDomain" and the like: events the store invents. EINVAL when too long or of forbidden characters.
Outcome<std::string> check_special(std::string_view path);

inline bool is_special(std::string_view path) {
    return path.starts_with('@');
}

/// True if `path` is `base` or below it.
bool is_within(std::string_view path, std::string_view base);

/// How many levels `path` is below `base`. Precondition: is_within(path, base).
unsigned levels_below(std::string_view path, std::string_view base);

/// The path one level up; "/" for "/".
std::string_view parent_of(std::string_view path);

/// Takes the first component off `rest` ("a/b" or "/a/b"); empty at the end.
std::string_view next_component(std::string_view& rest);

} // namespace domus::xenstore::tree
