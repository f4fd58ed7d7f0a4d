// Domains coming and going, and XS_CONTROL. See store.hpp.
#include "xenstore-lite/tree/path.hpp"
#include "xenstore-lite/tree/store.hpp"

#include <algorithm>

#include <xen/xen.h>

namespace domus::xenstore::tree {

namespace {
const std::string ok("OK", 3);

Outcome<std::uint16_t> parse_domid(const std::vector<std::string>& strings, std::size_t index) {
    const auto domid =
        index < strings.size() ? wire::parse_decimal(strings[index], DOMID_FIRST_RESERVED - 1) : std::nullopt;
    if (!domid) {
        return Errno::invalid;
    }
    return static_cast<std::uint16_t>(*domid);
}
} // namespace

Store::Reply Store::introduce(Session&, const wire::Message& request) {
    const auto strings = wire::split(request.payload);
    const auto domid = parse_domid(strings, 0);
    if (!domid || *domid == 0 || strings.size() < 3) {
        return Errno::invalid;
    }
    const auto frame = wire::parse_decimal(strings[1], UINT64_MAX);
    const auto port = wire::parse_decimal(strings[2], INT32_MAX);
    if (!frame || !port || *port == 0) {
        return Errno::invalid;
    }
    const auto known = domains_.find(*domid);
    const bool again =
        known != domains_.end() && !known->second.dying && known->second.frame == *frame && known->second.port == *port;
    if (!again) {
        if (known != domains_.end()) {
            forget(*domid); // resumed after a save: the page or the port is another one
        }
        // In place before connecting, because the first request may be waiting in the ring already.
        domains_[*domid] = Domain{*frame, static_cast<std::uint32_t>(*port), false, false, std::nullopt};
        record({Record::Kind::introduce, *domid, *frame, *port, {}, {}, {}});
        open(*domid, *domid);
        if (host_.connect(*domid, *frame, static_cast<std::uint32_t>(*port)) != 0) {
            forget(*domid);
            return Errno::invalid;
        }
        refer(*domid);
    }
    fire_special("@introduceDomain", *domid);
    return ok;
}

void Store::introduce_own_kernel(std::uint32_t port) {
    if (const auto known = domains_.find(0); known != domains_.end() && known->second.port == port) {
        return;
    }
    domains_[0] = Domain{0, port, false, false, std::nullopt};
    record({Record::Kind::introduce, 0, 0, port, {}, {}, {}});
    open(0, 0);
}

void Store::forget(std::uint16_t domid) {
    host_.disconnect(domid);
    close(domid);
    domains_.erase(domid);
    record({Record::Kind::forget, domid, 0, 0, {}, {}, {}});
}

Store::Reply Store::release(Session&, const wire::Message& request) {
    const auto domid = parse_domid(wire::split(request.payload), 0);
    if (!domid || *domid == 0) {
        return Errno::invalid;
    }
    if (!domains_.contains(*domid)) {
        return Errno::absent;
    }
    forget(*domid);
    if (!host_.domain_exists(*domid)) {
        purge(*domid);
    }
    fire_special("@releaseDomain", *domid);
    return ok;
}

Store::Reply Store::resume(Session&, const wire::Message& request) {
    const auto domid = parse_domid(wire::split(request.payload), 0);
    if (!domid) {
        return domid.error();
    }
    const auto domain = domains_.find(*domid);
    if (domain == domains_.end()) {
        return Errno::absent;
    }
    domain->second.shut_down = false;
    record({Record::Kind::shut_down, *domid, 0, 0, {}, {}, {}});
    return ok;
}

Store::Reply Store::set_target(Session&, const wire::Message& request) {
    const auto strings = wire::split(request.payload);
    const auto domid = parse_domid(strings, 0);
    const auto target = parse_domid(strings, 1);
    if (!domid || !target || *target == 0 || *domid == *target) {
        return Errno::invalid; // a target of 0 would hand out domain 0's rights
    }
    const auto domain = domains_.find(*domid);
    if (domain == domains_.end() || !domains_.contains(*target)) {
        return Errno::absent;
    }
    domain->second.target = *target;
    record({Record::Kind::target, *domid, *target, 0, {}, {}, {}});
    if (const auto session = sessions_.find(*domid); session != sessions_.end()) {
        session->second.caller.target = *target;
    }
    return ok;
}

Store::Reply Store::is_introduced(Session&, const wire::Message& request) {
    const auto domid = parse_domid(wire::split(request.payload), 0);
    if (!domid) {
        return domid.error();
    }
    const auto domain = domains_.find(*domid);
    return std::string(domain != domains_.end() && !domain->second.dying ? "T" : "F", 2);
}

Store::Reply Store::domain_path(Session&, const wire::Message& request) {
    const auto strings = wire::split(request.payload);
    const auto domid = strings.empty() ? std::nullopt : wire::parse_decimal(strings[0], 0xffff);
    if (!domid) {
        return Errno::invalid;
    }
    return home_of(static_cast<std::uint16_t>(*domid)) + '\0';
}

void Store::refer(std::uint16_t domid) {
    if (domid != 0 && referenced_.insert(domid).second) {
        record({Record::Kind::referenced, domid, 0, 0, {}, {}, {}});
    }
}

void Store::domains_changed(const std::vector<DomainState>& now) {
    std::set<std::uint16_t> candidates = referenced_;
    for (const auto& [domid, domain] : domains_) {
        candidates.insert(domid);
    }
    candidates.erase(0);
    for (const auto domid : candidates) {
        const auto state =
            std::find_if(now.begin(), now.end(), [&](const DomainState& each) { return each.domid == domid; });
        domain_changed(domid, state == now.end() ? nullptr : &*state);
    }
}

void Store::domain_changed(std::uint16_t domid, const DomainState* now) {
    const auto domain = domains_.find(domid);
    if (!now) {
        if (domain != domains_.end()) {
            forget(domid);
        }
        purge(domid);
        fire_special("@releaseDomain", domid);
        return;
    }
    if (domain == domains_.end()) {
        return;
    }
    if (now->dying && !domain->second.dying) {
        // Its ring is unmapped at once, or the hypervisor could never free the page and the domain would linger.
        host_.disconnect(domid);
        close(domid);
        domain->second.dying = true;
        record({Record::Kind::forget, domid, 0, 0, {}, {}, {}});
        purge(domid);
        fire_special("@releaseDomain", domid);
    } else if (now->shut_down && !domain->second.shut_down) {
        domain->second.shut_down = true;
        record({Record::Kind::shut_down, domid, 1, 0, {}, {}, {}});
        fire_special("@releaseDomain", domid);
    }
}

void Store::purge(std::uint16_t domid) {
    std::vector<std::string> owned;
    std::vector<std::string> mentioning;
    for_each(tree_.root(), "/", [&](const std::string& path, const Node& node) {
        if (node.owner() == domid && path != "/") {
            if (owned.empty() || !is_within(path, owned.back())) {
                owned.push_back(path);
            }
        } else if (std::any_of(node.permissions.begin(), node.permissions.end(),
                               [&](const Permission& entry) { return entry.domid == domid; })) {
            mentioning.push_back(path);
        }
    });
    const Caller store{};
    Editor editor(live(), store);
    for (const auto& path : owned) {
        (void)editor.apply({Edit::Kind::remove, path, {}, {}}); // domain 0 may, and the node is there
    }
    publish(std::move(editor.changes()));
    purge_permissions(domid, mentioning);
    for (auto& [number, other] : domains_) {
        if (other.target == domid) { // its successor must not be served by somebody else's device model
            other.target.reset();
            record({Record::Kind::target, number, 0, 0, {}, {}, {}});
            if (const auto session = sessions_.find(number); session != sessions_.end()) {
                session->second.caller.target.reset();
            }
        }
    }
    if (referenced_.erase(domid) != 0) {
        record({Record::Kind::referenced, domid, 1, 0, {}, {}, {}});
    }
}

void Store::purge_permissions(std::uint16_t domid, const std::vector<std::string>& paths) {
    const auto without = [&](std::vector<Permission> list) {
        std::erase_if(list, [&](const Permission& entry) { return entry.domid == domid; });
        if (list.empty()) {
            list.push_back({0, 'n'});
        }
        return list;
    };
    for (const auto& path : paths) {
        const Node* node = tree_.find(path);
        if (!node) {
            continue; // went with a node above it that the domain owned
        }
        Node& target = tree_.edit(path);
        accounts_.remove(target.owner());
        target.permissions = without(target.permissions);
        accounts_.add(target.owner());
        target.generation = ++generation_;
        target.writer = 0;
        record({Record::Kind::put, 0, 0, 0, path, target.value, target.permissions});
    }
    for (auto& [name, permissions] : specials_) {
        if (const auto kept = without(permissions); kept != permissions) {
            permissions = kept;
            record({Record::Kind::put, 0, 0, 0, name, {}, kept});
        }
    }
}

std::string Store::check() const {
    Accounts counted;
    std::size_t nodes = 0;
    for_each(tree_.root(), "/", [&](const std::string&, const Node& node) {
        counted.add(node.owner());
        ++nodes;
    });
    std::string text = std::to_string(nodes) + " nodes, " + std::to_string(sessions_.size()) + " connections, " +
                       std::to_string(domains_.size()) + " domains\n";
    for (unsigned domid = 1; domid < DOMID_FIRST_RESERVED; ++domid) {
        const auto id = static_cast<std::uint16_t>(domid);
        if (counted.nodes_of(id) != accounts_.nodes_of(id)) {
            text += "domain " + std::to_string(domid) + " owns " + std::to_string(counted.nodes_of(id)) +
                    " nodes but is charged for " + std::to_string(accounts_.nodes_of(id)) + "\n";
        }
    }
    return text;
}

std::string Store::control_quota(const std::vector<std::string>& words) {
    static const char* const names[] = {"nodes",       "node-size",         "watches",           "transactions",
                                        "permissions", "transaction-nodes", "transaction-bytes", "outstanding-bytes"};
    if (words.size() == 3) {
        std::size_t* const limit = limits_.by_name(words[1]);
        const auto value = wire::parse_decimal(words[2], UINT32_MAX);
        if (!limit || !value) {
            return {};
        }
        *limit = *value;
    }
    std::string text;
    for (const auto* name : names) {
        text += std::string(name) + ": " + std::to_string(*limits_.by_name(name)) + "\n";
    }
    return text;
}

Store::Reply Store::control(Session&, const wire::Message& request) {
    const auto words = wire::split(request.payload);
    std::string text;
    if (words.empty()) {
        return Errno::invalid;
    }
    if (words[0] == "help") {
        text = "help\ncheck\nlog|on\nlog|off\nprint|<text>\nquota\nquota|<name>|<value>\n";
    } else if (words[0] == "check") {
        text = check();
    } else if (words[0] == "log" && words.size() == 2 && (words[1] == "on" || words[1] == "off")) {
        host_.log_requests(words[1] == "on");
        return ok;
    } else if (words[0] == "print" && words.size() == 2) {
        host_.print(words[1]);
        return ok;
    } else if (words[0] == "quota") {
        text = control_quota(words);
    }
    if (text.empty()) {
        return Errno::invalid;
    }
    return text + '\0';
}

} // namespace domus::xenstore::tree
