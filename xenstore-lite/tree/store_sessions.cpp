// Connections, their transactions and their watches. See store.hpp.
#include "xenstore-lite/tree/path.hpp"
#include "xenstore-lite/tree/store.hpp"

namespace domus::xenstore::tree {

namespace {
const std::string ok("OK", 3);
}

void Store::open(ConnectionId connection, std::uint16_t domid) {
    Session session{connection, Caller{domid, std::nullopt}, {}, 0};
    if (const auto domain = domains_.find(domid); domain != domains_.end()) {
        session.caller.target = domain->second.target;
    }
    sessions_.insert_or_assign(connection, std::move(session));
}

void Store::close(ConnectionId connection) {
    watches_.remove_all(connection);
    sessions_.erase(connection);
    held_.erase(connection);
}

void Store::reset(ConnectionId connection) {
    const auto session = sessions_.find(connection);
    if (session == sessions_.end()) {
        return;
    }
    watches_.remove_all(connection);
    session->second.transactions.clear();
    if (session->second.durable()) {
        record({Record::Kind::reset, connection, 0, 0, {}, {}, {}});
    }
}

const Caller& Store::caller_of(ConnectionId connection) const {
    static const Caller nobody{0xffff, std::nullopt};
    const auto session = sessions_.find(connection);
    return session == sessions_.end() ? nobody : session->second.caller;
}

Store::Reply Store::transaction_start(Session& session, const wire::Message& request) {
    if (request.tx_id != 0) {
        return Errno::busy;
    }
    if (!session.caller.privileged() && session.transactions.size() >= limits_.transactions) {
        return Errno::quota;
    }
    while (++session.last_transaction == 0 || session.transactions.contains(session.last_transaction)) {
    }
    session.transactions.emplace(session.last_transaction, Transaction(tree_, accounts_));
    if (session.durable()) {
        record({Record::Kind::tx_start, session.id, session.last_transaction, 0, {}, {}, {}});
    }
    return std::to_string(session.last_transaction) + '\0';
}

Store::Reply Store::transaction_end(Session& session, const wire::Message& request) {
    const bool wanted = request.payload == std::string("T", 2);
    if (!wanted && request.payload != std::string("F", 2)) {
        return Errno::invalid;
    }
    auto found = session.transactions.extract(request.tx_id);
    if (found.empty()) {
        return Errno::absent;
    }
    if (session.durable()) {
        record({Record::Kind::tx_end, session.id, request.tx_id, 0, {}, {}, {}});
    }
    return wanted ? commit(session, found.mapped()) : Reply(ok);
}

Store::Reply Store::commit(const Session& session, const Transaction& transaction) {
    if (transaction.doomed) {
        return Errno::again;
    }
    if (const auto blamed = transaction.conflict(tree_)) {
        // A guest that keeps writing where the toolstack works could stall it for ever: let it wait its turn.
        if (session.caller.privileged() && *blamed != 0 && sessions_.contains(*blamed)) {
            held_.insert(*blamed);
        }
        return Errno::again;
    }
    Tree tree = tree_;
    Accounts accounts = accounts_;
    Editor editor({tree, accounts, limits_, generation_, domain_exists_}, session.caller);
    for (const auto& edit : transaction.edits) {
        if (const auto done = editor.apply(edit); !done) {
            // A quota used up meanwhile would fail again and again; anything else a new attempt finds out by itself.
            return done.error() == Errno::quota ? Errno::quota : Errno::again;
        }
    }
    tree_ = std::move(tree);
    accounts_ = std::move(accounts);
    publish(std::move(editor.changes()));
    if (session.caller.privileged()) {
        held_.clear();
    }
    return ok;
}

Outcome<std::string> Store::watch_path(const Session& session, const std::string& path) const {
    return is_special(path) ? check_special(path) : resolve(path, session.caller.domid);
}

Store::Reply Store::watch(Session& session, const wire::Message& request) {
    const auto strings = wire::split(request.payload);
    if (strings.size() < 2 || !request.payload.ends_with('\0')) {
        return Errno::invalid;
    }
    const auto path = watch_path(session, strings[XS_WATCH_PATH]);
    if (!path) {
        return path;
    }
    Watched watch{session.id, *path, strings[XS_WATCH_TOKEN], std::nullopt, false, false};
    watch.relative = !strings[0].starts_with('/') && !is_special(strings[0]);
    if (strings.size() > 2 && !strings[2].empty()) {
        const auto depth = wire::parse_decimal(strings[2], is_special(*path) ? 1 : XENSTORE_ABS_PATH_MAX);
        if (!depth) {
            return Errno::invalid;
        }
        watch.depth = static_cast<unsigned>(*depth);
    }
    if (!session.caller.privileged() && watches_.count(session.id) >= limits_.watches) {
        return Errno::too_big;
    }
    const auto depth = watch.depth ? *watch.depth + 1ULL : 0;
    const auto relative = watch.relative;
    const auto added = watches_.add(std::move(watch));
    if (!added) {
        return added.error();
    }
    if (session.durable()) {
        record({Record::Kind::watch, session.id, depth, relative, *path, strings[XS_WATCH_TOKEN], {}});
    }
    return ok;
}

Store::Reply Store::unwatch(Session& session, const wire::Message& request) {
    const auto strings = wire::split(request.payload);
    if (strings.size() < 2 || !request.payload.ends_with('\0')) {
        return Errno::invalid;
    }
    const auto path = watch_path(session, strings[XS_WATCH_PATH]);
    if (!path) {
        return path;
    }
    if (!watches_.remove(session.id, *path, strings[XS_WATCH_TOKEN])) {
        return Errno::absent;
    }
    if (session.durable()) {
        record({Record::Kind::unwatch, session.id, 0, 0, *path, strings[XS_WATCH_TOKEN], {}});
    }
    return ok;
}

Store::Reply Store::reset_watches(Session& session, const wire::Message&) {
    reset(session.id);
    return ok;
}

void Store::fire(Watched& watch, const std::string& path) {
    const bool durable = watch.connection < first_socket;
    if (watch.lost) {
        return; // one is owed already and will say that something at or below the path changed
    }
    if (host_.congested(watch.connection)) {
        watch.lost = true;
        if (durable) {
            record({Record::Kind::watch_lost, watch.connection, 1, 0, watch.path, watch.token, {}});
        }
        return;
    }
    send_event(watch, path);
}

void Store::send_event(const Watched& watch, const std::string& path) {
    const auto home = home_of(caller_of(watch.connection).domid);
    std::string payload = watch.as_seen(path, home);
    payload.append(1, '\0').append(watch.token).append(1, '\0');
    if (payload.size() > wire::max_payload) {
        // The token is so long that this path does not fit beside it; the watched path itself always does.
        payload = watch.as_seen(watch.path, home);
        payload.append(1, '\0').append(watch.token).append(1, '\0');
    }
    if (payload.size() <= wire::max_payload) {
        host_.deliver(watch.connection, {XS_WATCH_EVENT, 0, 0, std::move(payload)});
    }
}

void Store::drained(ConnectionId connection) {
    watches_.for_each(connection, [this](Watched& watch) {
        if (watch.lost && !host_.congested(watch.connection)) {
            watch.lost = false;
            if (watch.connection < first_socket) {
                record({Record::Kind::watch_lost, watch.connection, 0, 0, watch.path, watch.token, {}});
            }
            send_event(watch, watch.path);
        }
    });
}

void Store::fire_special(const std::string& name, std::uint16_t domid) {
    watches_.match_special(
        name, domid, specials_.at(name), [this](ConnectionId id) -> const Caller& { return caller_of(id); },
        [this](Watched& watch, const std::string& path) { fire(watch, path); });
}

} // namespace domus::xenstore::tree
