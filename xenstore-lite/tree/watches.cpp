// Matching changes against watches. See watches.hpp.
#include "xenstore-lite/tree/watches.hpp"

#include <algorithm>

#include "xenstore-lite/tree/path.hpp"

namespace domus::xenstore::tree {

std::string Watched::as_seen(const std::string& event_path, const std::string& home) const {
    if (relative && is_within(event_path, home) && event_path.size() > home.size()) {
        return event_path.substr(home.size() + 1);
    }
    return event_path;
}

Outcome<Watched*> Watches::add(Watched watch) {
    if (find(watch.connection, watch.path, watch.token)) {
        return Errno::exists;
    }
    ++counts_[watch.connection];
    auto& list = by_path_[watch.path];
    list.push_back(std::move(watch));
    return &list.back();
}

Watched* Watches::find(ConnectionId connection, const std::string& path, const std::string& token) {
    const auto list = by_path_.find(path);
    if (list == by_path_.end()) {
        return nullptr;
    }
    for (auto& watch : list->second) {
        if (watch.connection == connection && watch.token == token) {
            return &watch;
        }
    }
    return nullptr;
}

bool Watches::remove(ConnectionId connection, const std::string& path, const std::string& token) {
    const auto list = by_path_.find(path);
    if (list == by_path_.end()) {
        return false;
    }
    const auto removed = list->second.remove_if(
        [&](const Watched& watch) { return watch.connection == connection && watch.token == token; });
    if (list->second.empty()) {
        by_path_.erase(list);
    }
    if (removed != 0 && --counts_[connection] == 0) {
        counts_.erase(connection);
    }
    return removed != 0;
}

void Watches::remove_all(ConnectionId connection) {
    for (auto list = by_path_.begin(); list != by_path_.end();) {
        list->second.remove_if([&](const Watched& watch) { return watch.connection == connection; });
        list = list->second.empty() ? by_path_.erase(list) : std::next(list);
    }
    counts_.erase(connection);
}

std::size_t Watches::count(ConnectionId connection) const {
    const auto found = counts_.find(connection);
    return found == counts_.end() ? 0 : found->second;
}

namespace {
bool visible(const Caller& caller, const Change& change) {
    return (!change.before.empty() && may_read(caller, change.before)) ||
           (!change.after.empty() && may_read(caller, change.after));
}
} // namespace

void Watches::match_at(const std::string& watched_path, const Change& change, const CallerOf& caller_of,
                       const Fire& fire) {
    const auto list = by_path_.find(watched_path);
    if (list == by_path_.end()) {
        return;
    }
    const unsigned levels = levels_below(change.path, watched_path);
    for (auto& watch : list->second) {
        if ((!watch.depth || levels <= *watch.depth) && visible(caller_of(watch.connection), change)) {
            fire(watch, change.path);
        }
    }
}

void Watches::match_removed(const Change& change, const CallerOf& caller_of, const Fire& fire) {
    // Watches below the removed node: told of their own path, if there was something they could read.
    const std::string prefix = change.path + "/";
    for (auto list = by_path_.lower_bound(prefix); list != by_path_.end() && list->first.starts_with(prefix); ++list) {
        const Node* gone = find_below(*change.removed, std::string_view(list->first).substr(prefix.size()));
        if (!gone) {
            continue;
        }
        for (auto& watch : list->second) {
            if (may_read(caller_of(watch.connection), gone->permissions)) {
                fire(watch, watch.path);
            }
        }
    }
}

void Watches::match(const Change& change, const CallerOf& caller_of, const Fire& fire) {
    if (change.quiet || by_path_.empty()) {
        return;
    }
    std::string watched_path = change.path;
    while (watched_path != "/") {
        match_at(watched_path, change, caller_of, fire);
        watched_path = std::string(parent_of(watched_path));
    }
    match_at("/", change, caller_of, fire);
    if (change.removed) {
        match_removed(change, caller_of, fire);
    }
}

void Watches::match_special(const std::string& name, std::uint16_t domid, const std::vector<Permission>& permissions,
                            const CallerOf& caller_of, const Fire& fire) {
    const std::string with_domain = name + "/" + std::to_string(domid);
    for (const auto& path : {name, with_domain}) {
        const auto list = by_path_.find(path);
        if (list == by_path_.end()) {
            continue;
        }
        for (auto& watch : list->second) {
            if (may_read(caller_of(watch.connection), permissions)) {
                fire(watch, path == name && watch.depth.value_or(0) != 0 ? with_domain : path);
            }
        }
    }
}

void Watches::for_each(ConnectionId connection, const std::function<void(Watched&)>& visit) {
    for (auto& [path, list] : by_path_) {
        for (auto& watch : list) {
            if (watch.connection == connection) {
                visit(watch);
            }
        }
    }
}

void Watches::for_each(const std::function<void(const Watched&)>& visit) const {
    for (const auto& [path, list] : by_path_) {
        for (const auto& watch : list) {
            visit(watch);
        }
    }
}

} // namespace domus::xenstore::tree
