// Requests on nodes, and the table of all requests. See store.hpp.
#include "xenstore-lite/tree/store.hpp"

#include <algorithm>
#include <ctime>

#include "xenstore-lite/tree/path.hpp"

namespace domus::xenstore::tree {

namespace {
/// Listings must not be continued across a restart as if nothing had happened, so generations never start over
/// while the machine runs.
std::uint64_t first_generation() {
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

/// The payload as exactly one string with its NUL.
Outcome<std::string> single(const std::string& payload) {
    if (payload.empty() || payload.find('\0') != payload.size() - 1) {
        return Errno::invalid;
    }
    return payload.substr(0, payload.size() - 1);
}

std::string names_of(const Editor::Listing& listing) {
    return wire::join(listing.names);
}

const std::string ok("OK", 3);
} // namespace

Store::Store(Host& host, const Limits& limits)
    : host_(host), limits_(limits), domain_exists_([this](std::uint16_t domid) {
          return domid == 0 || domains_.contains(domid) || host_.domain_exists(domid);
      }),
      generation_(first_generation()), specials_{{"@introduceDomain", {Permission{0, 'n'}}},
                                                 {"@releaseDomain", {Permission{0, 'n'}}}} {}

const std::vector<Store::Request>& Store::requests() {
    static const std::vector<Request> table = {
        {XS_CONTROL, &Store::control, true},
        {XS_DIRECTORY, &Store::directory, false},
        {XS_READ, &Store::read, false},
        {XS_GET_PERMS, &Store::get_permissions, false},
        {XS_WATCH, &Store::watch, false},
        {XS_UNWATCH, &Store::unwatch, false},
        {XS_TRANSACTION_START, &Store::transaction_start, false},
        {XS_TRANSACTION_END, &Store::transaction_end, false},
        {XS_INTRODUCE, &Store::introduce, true},
        {XS_RELEASE, &Store::release, true},
        {XS_GET_DOMAIN_PATH, &Store::domain_path, false},
        {XS_WRITE, &Store::write, false},
        {XS_MKDIR, &Store::mkdir, false},
        {XS_RM, &Store::remove, false},
        {XS_SET_PERMS, &Store::set_permissions, false},
        {XS_IS_DOMAIN_INTRODUCED, &Store::is_introduced, false},
        {XS_RESUME, &Store::resume, true},
        {XS_SET_TARGET, &Store::set_target, true},
        {XS_RESET_WATCHES, &Store::reset_watches, false},
        {XS_DIRECTORY_PART, &Store::directory_part, false},
    };
    return table;
}

Store::Reply Store::dispatch(Session& session, const wire::Message& request) {
    const auto& table = requests();
    const auto entry =
        std::find_if(table.begin(), table.end(), [&](const Request& known) { return known.type == request.type; });
    if (entry == table.end()) {
        return Errno::no_such_request;
    }
    if (entry->privileged && !session.caller.privileged()) {
        return Errno::denied;
    }
    return (this->*entry->handler)(session, request);
}

void Store::handle(ConnectionId connection, const wire::Message& request) {
    const auto session = sessions_.find(connection);
    if (session == sessions_.end()) {
        return;
    }
    wire::Message reply{request.type, request.req_id, request.tx_id, {}};
    const Reply outcome = dispatch(session->second, request);
    if (outcome && outcome->size() <= wire::max_payload) {
        reply.payload = *outcome;
    } else {
        reply.type = XS_ERROR;
        reply.payload = wire::error_name(outcome ? E2BIG : static_cast<int>(outcome.error()));
        reply.payload.push_back('\0');
    }
    host_.deliver(connection, reply);
    if (request.type == XS_WATCH && outcome) { // a new watch fires once, after the reply
        const auto strings = wire::split(request.payload);
        const auto path = watch_path(session->second, strings[XS_WATCH_PATH]);
        if (Watched* watch = watches_.find(connection, *path, strings[XS_WATCH_TOKEN])) {
            fire(*watch, watch->path);
        }
    }
}

Outcome<Transaction*> Store::transaction_of(Session& session, std::uint32_t tx) {
    if (tx == 0) {
        return nullptr;
    }
    const auto found = session.transactions.find(tx);
    if (found == session.transactions.end()) {
        return Errno::absent;
    }
    return &found->second;
}

Outcome<Editor> Store::reader(Session& session, std::uint32_t tx) {
    const auto transaction = transaction_of(session, tx);
    if (!transaction) {
        return transaction.error();
    }
    if (Transaction* inside = *transaction) {
        const EditContext context{inside->work, inside->accounts, limits_, generation_, domain_exists_};
        return Editor(context, session.caller, &inside->footprint);
    }
    return Editor(live(), session.caller);
}

Store::Reply Store::directory(Session& session, const wire::Message& request) {
    const auto path = single(request.payload);
    const auto absolute = path ? resolve(*path, session.caller.domid) : path;
    auto editor = reader(session, request.tx_id);
    if (!absolute || !editor) {
        return absolute ? editor.error() : absolute.error();
    }
    const auto listing = editor->children(*absolute);
    if (!listing) {
        return listing.error();
    }
    return names_of(*listing); // handle() answers E2BIG when it does not fit
}

Store::Reply Store::directory_part(Session& session, const wire::Message& request) {
    const auto strings = wire::split(request.payload);
    if (strings.size() != 2 || !request.payload.ends_with('\0')) {
        return Errno::invalid;
    }
    const auto absolute = resolve(strings[0], session.caller.domid);
    const auto offset = wire::parse_decimal(strings[1], UINT32_MAX);
    auto editor = reader(session, request.tx_id);
    if (!absolute || !offset || !editor) {
        return absolute && offset ? editor.error() : Errno::invalid;
    }
    const auto listing = editor->children(*absolute);
    if (!listing) {
        return listing.error();
    }
    const std::string names = names_of(*listing);
    if (*offset > names.size()) {
        return Errno::invalid;
    }
    std::string reply = std::to_string(listing->generation);
    reply.push_back('\0');
    const std::size_t room = wire::max_payload - reply.size() - 1;
    std::size_t size = names.size() - *offset;
    if (size > room) { // whole names only
        size = names.rfind('\0', *offset + room - 1) + 1 - *offset;
        return reply.append(names, *offset, size);
    }
    reply.append(names, *offset, size).push_back('\0'); // an empty name marks the end
    return reply;
}

Store::Reply Store::read(Session& session, const wire::Message& request) {
    const auto path = single(request.payload);
    const auto absolute = path ? resolve(*path, session.caller.domid) : path;
    auto editor = reader(session, request.tx_id);
    if (!absolute || !editor) {
        return absolute ? editor.error() : absolute.error();
    }
    return editor->read(*absolute);
}

Store::Reply Store::apply(Session& session, std::uint32_t tx, Edit edit) {
    const auto absolute = resolve(edit.path, session.caller.domid);
    const auto transaction = transaction_of(session, tx);
    if (!absolute || !transaction) {
        return absolute ? transaction.error() : absolute.error();
    }
    edit.path = *absolute;
    Transaction* inside = *transaction;
    if (!inside) {
        Editor editor(live(), session.caller);
        const auto done = editor.apply(edit);
        publish(std::move(editor.changes()));
        return done ? Reply(ok) : Reply(done.error());
    }
    std::size_t bytes = edit.size();
    for (const auto& [number, open] : session.transactions) {
        bytes += open.bytes;
    }
    if (!session.caller.privileged() && bytes > limits_.transaction_bytes) {
        return Errno::quota;
    }
    const EditContext context{inside->work, inside->accounts, limits_, generation_, domain_exists_};
    Editor editor(context, session.caller, &inside->footprint);
    if (const auto done = editor.apply(edit); !done) {
        return done.error();
    }
    inside->bytes += edit.size();
    inside->edits.push_back(std::move(edit));
    return ok;
}

Store::Reply Store::write(Session& session, const wire::Message& request) {
    const auto end = request.payload.find('\0');
    if (end == std::string::npos) {
        return Errno::invalid;
    }
    return apply(session, request.tx_id,
                 {Edit::Kind::write, request.payload.substr(0, end), request.payload.substr(end + 1), {}});
}

Store::Reply Store::mkdir(Session& session, const wire::Message& request) {
    const auto path = single(request.payload);
    return path ? apply(session, request.tx_id, {Edit::Kind::mkdir, *path, {}, {}}) : path;
}

Store::Reply Store::remove(Session& session, const wire::Message& request) {
    const auto path = single(request.payload);
    return path ? apply(session, request.tx_id, {Edit::Kind::remove, *path, {}, {}}) : path;
}

Store::Reply Store::get_permissions(Session& session, const wire::Message& request) {
    const auto path = single(request.payload);
    if (!path) {
        return path;
    }
    Outcome<std::vector<Permission>> list = Errno::absent;
    if (is_special(*path)) {
        const auto special = specials_.find(*path);
        if (special != specials_.end()) {
            list = may_read(session.caller, special->second) ? Outcome<std::vector<Permission>>(special->second)
                                                             : Errno::denied;
        }
    } else {
        const auto absolute = resolve(*path, session.caller.domid);
        auto editor = reader(session, request.tx_id);
        if (!absolute || !editor) {
            return absolute ? editor.error() : absolute.error();
        }
        list = editor->permissions(*absolute);
    }
    if (!list) {
        return list.error();
    }
    std::vector<std::string> texts;
    std::transform(list->begin(), list->end(), std::back_inserter(texts), wire::to_string);
    return wire::join(texts);
}

Store::Reply Store::set_permissions(Session& session, const wire::Message& request) {
    const auto strings = wire::split(request.payload);
    if (strings.size() < 2 || !request.payload.ends_with('\0')) {
        return Errno::invalid;
    }
    std::vector<Permission> permissions;
    for (std::size_t i = 1; i < strings.size(); ++i) {
        const auto permission = wire::parse_permission(strings[i]);
        if (!permission) {
            return Errno::invalid;
        }
        permissions.push_back(*permission);
    }
    if (is_special(strings[0])) {
        return set_special_permissions(session, strings[0], std::move(permissions));
    }
    return apply(session, request.tx_id, {Edit::Kind::set_permissions, strings[0], {}, std::move(permissions)});
}

Store::Reply Store::set_special_permissions(Session& session, const std::string& path,
                                            std::vector<Permission> permissions) {
    const auto special = specials_.find(path);
    if (special == specials_.end()) {
        return Errno::absent;
    }
    if (!session.caller.privileged()) {
        return Errno::denied;
    }
    std::erase_if(permissions, [this](const Permission& entry) { return !domain_exists_(entry.domid); });
    if (permissions.empty()) {
        return Errno::invalid;
    }
    for (const auto& permission : permissions) {
        refer(permission.domid);
    }
    special->second = std::move(permissions);
    record({Record::Kind::put, 0, 0, 0, path, {}, special->second});
    return ok;
}

void Store::publish(std::vector<Change> changes) {
    for (const auto& change : changes) {
        if (change.removed) {
            record({Record::Kind::remove, 0, 0, 0, change.path, {}, {}});
        } else {
            record({Record::Kind::put, 0, 0, 0, change.path, change.value, change.after});
            for (const auto& permission : change.after) {
                refer(permission.domid);
            }
        }
        watches_.match(
            change, [this](ConnectionId id) -> const Caller& { return caller_of(id); },
            [this](Watched& watch, const std::string& path) { fire(watch, path); });
    }
}

} // namespace domus::xenstore::tree
