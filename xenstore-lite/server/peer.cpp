// See peer.hpp.
#include "xenstore-lite/server/peer.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include <pwd.h>
#include <unistd.h>

namespace domus::xenstore::server {
namespace {

using namespace std::string_view_literals;

/// What changes nothing but the asking connection.
constexpr std::array questions{XS_DIRECTORY,           XS_DIRECTORY_PART,  XS_READ,
                               XS_GET_PERMS,           XS_WATCH,           XS_UNWATCH,
                               XS_TRANSACTION_START,   XS_TRANSACTION_END, XS_GET_DOMAIN_PATH,
                               XS_IS_DOMAIN_INTRODUCED};
constexpr std::array changes{XS_WRITE, XS_MKDIR, XS_RM};

/// A device's nodes that are the backend's to write (xen/io/xenbus.h, blkif.h, netif.h), beside feature-*.
constexpr std::array own_nodes{"state"sv,
                               "sectors"sv,
                               "sector-size"sv,
                               "physical-sector-size"sv,
                               "info"sv,
                               "discard-granularity"sv,
                               "discard-alignment"sv,
                               "discard-secure"sv,
                               "max-ring-page-order"sv,
                               "multi-queue-max-queues"sv,
                               "resize"sv,
                               "resize-error"sv};

template <class List, class Value>
bool has(const List& list, const Value& value) {
    return std::find(list.begin(), list.end(), value) != list.end();
}

bool is_number(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// "a/b/c" as its parts. Empty parts stay: no rule has them.
std::vector<std::string_view> parts_of(std::string_view path) {
    std::vector<std::string_view> parts;
    for (;;) {
        const auto slash = path.find('/');
        parts.push_back(path.substr(0, slash));
        if (slash == std::string_view::npos) {
            return parts;
        }
        path.remove_prefix(slash + 1);
    }
}

bool is_own(std::string_view path, std::string_view type) {
    constexpr auto home = "/local/domain/0/"sv;
    if (type.empty() || !path.starts_with(home)) {
        return false;
    }
    const auto parts = parts_of(path.substr(home.size()));
    const auto device_at = [&](std::size_t i) {
        return parts[i] == "backend" && parts[i + 1] == type && is_number(parts[i + 2]) && is_number(parts[i + 3]);
    };
    if (parts.size() == 5 && device_at(0)) {
        return parts[4].starts_with("feature-") || has(own_nodes, parts[4]);
    }
    return parts.size() == 6 && parts[0] == "error" && device_at(1) && parts[5] == "error";
}

} // namespace

BackendUsers default_backend_users() {
    return {{"domus-blockd", "domus-vbd"}, {"domus-consoled", ""}, {"domus-netd", "domus-vif"}};
}

bool Peer::may(const wire::Message& request) const {
    if (everything || has(questions, request.type)) {
        return true;
    }
    const std::string_view payload = request.payload;
    return has(changes, request.type) && is_own(payload.substr(0, payload.find('\0')), backend_type);
}

std::optional<Peer> peer_of(uid_t user, const BackendUsers& backends) {
    if (user == 0 || user == ::getuid()) {
        return Peer{};
    }
    const passwd* const entry = ::getpwuid(user);
    if (entry == nullptr) {
        return std::nullopt;
    }
    const auto found = backends.find(entry->pw_name);
    if (found == backends.end()) {
        return std::nullopt;
    }
    return Peer{.everything = false, .user = found->first, .backend_type = found->second};
}

} // namespace domus::xenstore::server
