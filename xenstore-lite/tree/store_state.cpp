// The state as records, and back. See store.hpp and docs/xenstore.md ("What survives a crash").
#include "xenstore-lite/tree/path.hpp"
#include "xenstore-lite/tree/store.hpp"

#include <stdexcept>

namespace domus::xenstore::tree {

std::vector<Record> Store::snapshot() const {
    std::vector<Record> all;
    for_each(tree_.root(), "/", [&](const std::string& path, const Node& node) {
        all.push_back({Record::Kind::put, 0, 0, 0, path, node.value, node.permissions});
    });
    for (const auto& [name, permissions] : specials_) {
        all.push_back({Record::Kind::put, 0, 0, 0, name, {}, permissions});
    }
    for (const auto domid : referenced_) {
        all.push_back({Record::Kind::referenced, domid, 0, 0, {}, {}, {}});
    }
    for (const auto& [domid, domain] : domains_) {
        if (domain.dying) {
            continue;
        }
        all.push_back({Record::Kind::introduce, domid, domain.frame, domain.port, {}, {}, {}});
        if (domain.target) {
            all.push_back({Record::Kind::target, domid, *domain.target, 0, {}, {}, {}});
        }
        all.push_back({Record::Kind::shut_down, domid, domain.shut_down, 0, {}, {}, {}});
    }
    watches_.for_each([&](const Watched& watch) {
        if (watch.connection < first_socket) {
            const std::uint64_t depth = watch.depth ? *watch.depth + 1ULL : 0;
            all.push_back({Record::Kind::watch, watch.connection, depth, watch.relative, watch.path, watch.token, {}});
            all.push_back({Record::Kind::watch_lost, watch.connection, watch.lost, 0, watch.path, watch.token, {}});
        }
    });
    for (const auto& [id, session] : sessions_) {
        for (const auto& [number, transaction] : session.transactions) {
            if (session.durable()) {
                all.push_back({Record::Kind::tx_start, id, number, 0, {}, {}, {}});
            }
        }
    }
    return all;
}

void Store::restore_node(const Record& record) {
    if (record.permissions.empty() && record.kind == Record::Kind::put) {
        throw std::runtime_error("a node without permissions: " + record.path);
    }
    if (is_special(record.path)) {
        specials_[record.path] = record.permissions;
        return;
    }
    if (!tree_.find(parent_of(record.path))) {
        throw std::runtime_error("a node without a parent: " + record.path);
    }
    const Node* known = tree_.find(record.path);
    if (record.kind == Record::Kind::remove) {
        if (!known || record.path == "/") {
            throw std::runtime_error("removal of what is not there: " + record.path);
        }
        const auto gone = tree_.remove(record.path, ++generation_, 0);
        for_each(*gone, record.path, [this](const std::string&, const Node& node) { accounts_.remove(node.owner()); });
        return;
    }
    if (known) {
        Node& node = tree_.edit(record.path);
        accounts_.remove(node.owner());
        node.value = record.text;
        node.permissions = record.permissions;
        node.generation = ++generation_;
    } else {
        Node node;
        node.value = record.text;
        node.permissions = record.permissions;
        tree_.add(record.path, std::move(node), ++generation_);
    }
    accounts_.add(record.permissions.front().domid);
}

void Store::restore_session(const Record& record) {
    const auto session = sessions_.find(record.id);
    if (session == sessions_.end()) {
        throw std::runtime_error("a record of connection " + std::to_string(record.id) + ", which is not open");
    }
    switch (record.kind) {
    case Record::Kind::watch: {
        Watched watch{record.id, record.path, record.text, std::nullopt, record.b != 0, false};
        if (record.a != 0) {
            watch.depth = static_cast<unsigned>(record.a - 1);
        }
        (void)watches_.add(std::move(watch));
        break;
    }
    case Record::Kind::unwatch:
        watches_.remove(record.id, record.path, record.text);
        break;
    case Record::Kind::watch_lost:
        if (Watched* watch = watches_.find(record.id, record.path, record.text)) {
            watch->lost = record.a != 0;
        }
        break;
    case Record::Kind::reset:
        watches_.remove_all(record.id);
        session->second.transactions.clear();
        break;
    case Record::Kind::tx_start: {
        const auto number = static_cast<std::uint32_t>(record.a);
        session->second.last_transaction = number;
        session->second.transactions.insert_or_assign(number, Transaction(Tree(), Accounts()));
        break;
    }
    default:
        session->second.transactions.erase(static_cast<std::uint32_t>(record.a)); // tx_end
    }
}

void Store::restored() {
    for (auto& [id, session] : sessions_) {
        for (auto& [number, transaction] : session.transactions) {
            // What it had read and written is gone, so it cannot be committed; until it ends, reads must work.
            transaction = Transaction(tree_, accounts_);
            transaction.doomed = true;
        }
    }
}

void Store::restore(const Record& record) {
    const auto domid = static_cast<std::uint16_t>(record.id);
    switch (record.kind) {
    case Record::Kind::put:
    case Record::Kind::remove:
        restore_node(record);
        break;
    case Record::Kind::introduce:
        domains_[domid] = Domain{record.a, static_cast<std::uint32_t>(record.b), false, false, std::nullopt};
        open(domid, domid);
        break;
    case Record::Kind::forget:
        close(domid);
        domains_.erase(domid);
        break;
    case Record::Kind::target:
        if (const auto domain = domains_.find(domid); domain != domains_.end()) {
            domain->second.target = record.a == 0 ? std::nullopt : std::optional(static_cast<std::uint16_t>(record.a));
            sessions_.at(domid).caller.target = domain->second.target;
        }
        break;
    case Record::Kind::shut_down:
        if (const auto domain = domains_.find(domid); domain != domains_.end()) {
            domain->second.shut_down = record.a != 0;
        }
        break;
    case Record::Kind::referenced:
        record.a == 0 ? (void)referenced_.insert(domid) : (void)referenced_.erase(domid);
        break;
    case Record::Kind::ring:
    case Record::Kind::input:
    case Record::Kind::output:
        break; // the ring sessions' own
    default:
        restore_session(record);
    }
}

} // namespace domus::xenstore::tree
