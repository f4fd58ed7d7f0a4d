// Paths. See path.hpp.
#include "xenstore-lite/tree/path.hpp"

#include <algorithm>

#include <xen/io/xs_wire.h>

namespace domus::xenstore::tree {

namespace {
bool legal_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '/' ||
           c == '_' || c == '@';
}

bool legal_characters(std::string_view path) {
    return std::all_of(path.begin(), path.end(), legal_character) && path.find("//") == std::string_view::npos;
}
} // namespace

std::string home_of(std::uint16_t domid) {
    return "/local/domain/" + std::to_string(domid);
}

Outcome<std::string> resolve(std::string_view path, std::uint16_t domid) {
    const bool absolute = path.starts_with('/');
    const std::size_t limit = absolute ? XENSTORE_ABS_PATH_MAX : XENSTORE_REL_PATH_MAX;
    if (path.empty() || path.size() > limit || is_special(path) || !legal_characters(path)) {
        return Errno::invalid;
    }
    if (path.size() > 1 && path.ends_with('/')) {
        return Errno::invalid;
    }
    std::string whole = absolute ? std::string(path) : home_of(domid) + "/" + std::string(path);
    if (whole.size() > XENSTORE_ABS_PATH_MAX) {
        return Errno::invalid;
    }
    return whole;
}

Outcome<std::string> check_special(std::string_view path) {
    if (path.size() > XENSTORE_REL_PATH_MAX || !is_special(path) || !legal_characters(path)) {
        return Errno::invalid;
    }
    return std::string(path);
}

bool is_within(std::string_view path, std::string_view base) {
    if (base == "/") {
        return path.starts_with('/');
    }
    return path.starts_with(base) && (path.size() == base.size() || path[base.size()] == '/');
}

unsigned levels_below(std::string_view path, std::string_view base) {
    const auto rest = base == "/" ? (path == "/" ? std::string_view{} : path) : path.substr(base.size());
    return static_cast<unsigned>(std::count(rest.begin(), rest.end(), '/'));
}

std::string_view parent_of(std::string_view path) {
    const auto slash = path.rfind('/');
    return slash == 0 || slash == std::string_view::npos ? std::string_view("/") : path.substr(0, slash);
}

std::string_view next_component(std::string_view& rest) {
    if (rest.starts_with('/')) {
        rest.remove_prefix(1);
    }
    const auto component = rest.substr(0, rest.find('/'));
    rest.remove_prefix(component.size());
    return component;
}

} // namespace domus::xenstore::tree
