// The store: answers requests of all connections, on the tree, transactions, watches and domains it owns.
// Owner: the daemon (or a test). Lock: none, one thread. No I/O: what has to reach a client or the hypervisor goes
// through Host, and so does every change that has to survive a crash.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "xenstore-lite/tree/record.hpp"
#include "xenstore-lite/tree/transaction.hpp"
#include "xenstore-lite/tree/watches.hpp"
#include "xenstore-lite/wire/codec.hpp"

namespace domus::xenstore::tree {

/// What the store needs from around it.
class Host {
public:
    virtual ~Host() = default;
    /// Whether the hypervisor knows the domain.
    virtual bool domain_exists(std::uint16_t domid) = 0;
    /// Maps the domain's ring and binds its port. 0, or an errno value.
    virtual int connect(std::uint16_t domid, std::uint64_t frame, std::uint32_t port) = 0;
    virtual void disconnect(std::uint16_t domid) = 0;
    /// A reply or an event for a connection. An event equal to one still waiting may be dropped.
    virtual void deliver(ConnectionId connection, const wire::Message& message) = 0;
    /// True if the client does not fetch what it is sent: events are then owed instead of sent.
    virtual bool congested(ConnectionId connection) = 0;
    /// Turns the log of requests on or off (XS_CONTROL).
    virtual void log_requests(bool on) = 0;
    /// XS_CONTROL's print.
    virtual void print(const std::string& text) = 0;
    /// One change of state, in order. Has to be journalled before anything delivered in the same step is sent.
    virtual void record(Record record) = 0;
};

/// An introduced domain.
struct Domain {
    std::uint64_t frame = 0; ///< machine frame of the ring page, as introduced; only the fall-back of grant 1
    std::uint32_t port = 0;  ///< the domain's end of the event channel
    bool shut_down = false;  ///< its shutdown has been announced
    bool dying = false;      ///< disconnected, but the hypervisor still knows it
    std::optional<std::uint16_t> target;
};

/// What the hypervisor says of a domain.
struct DomainState {
    std::uint16_t domid;
    bool shut_down;
    bool dying;
};

class Store {
public:
    Store(Host& host, const Limits& limits);

    /// A new client. Rings have the number of their domain, sockets count from first_socket and act as domain 0.
    void open(ConnectionId connection, std::uint16_t domid);
    /// The client is gone: its watches and transactions go as well.
    void close(ConnectionId connection);
    /// The guest asked for a fresh ring: as close() and open(), but journalled.
    void reset(ConnectionId connection);
    /// Answers one request through Host::deliver. Ignores connections that are not open.
    void handle(ConnectionId connection, const wire::Message& request);
    /// The client fetched its backlog: events that were owed are sent.
    void drained(ConnectionId connection);

    /// True while the connection's requests should wait, because its writes made domain 0's transactions fail.
    bool held(ConnectionId connection) const { return held_.contains(connection); }
    bool any_held() const { return !held_.empty(); }
    void release_holds() { held_.clear(); }

    /// Domain 0's own kernel is connected (its ring is not introduced by anybody).
    void introduce_own_kernel(std::uint32_t port);
    /// The list of all domains, after VIRQ_DOM_EXC: finds who shut down or died.
    void domains_changed(const std::vector<DomainState>& now);

    /// Records that rebuild the whole state.
    std::vector<Record> snapshot() const;
    /// One record of an earlier life. Throws std::runtime_error if it does not fit what came before.
    void restore(const Record& record);
    /// After the last restore(): transactions that were open go on, on the tree as it is, until their end fails.
    void restored();

    const std::map<std::uint16_t, Domain>& domains() const { return domains_; }
    const Tree& tree() const { return tree_; }
    const Accounts& accounts() const { return accounts_; }
    const Limits& limits() const { return limits_; }

private:
    struct Session {
        ConnectionId id;
        Caller caller;
        std::map<std::uint32_t, Transaction> transactions;
        std::uint32_t last_transaction = 0;

        bool durable() const { return id < first_socket; }
    };
    using Reply = Outcome<std::string>; // payload of the reply
    using Handler = Reply (Store::*)(Session&, const wire::Message&);
    struct Request {
        std::uint32_t type;
        Handler handler;
        bool privileged;
    };
    static const std::vector<Request>& requests();

    // store.cpp: nodes
    Reply dispatch(Session& session, const wire::Message& request);
    Reply directory(Session& session, const wire::Message& request);
    Reply directory_part(Session& session, const wire::Message& request);
    Reply read(Session& session, const wire::Message& request);
    Reply write(Session& session, const wire::Message& request);
    Reply mkdir(Session& session, const wire::Message& request);
    Reply remove(Session& session, const wire::Message& request);
    Reply get_permissions(Session& session, const wire::Message& request);
    Reply set_permissions(Session& session, const wire::Message& request);
    Reply set_special_permissions(Session& session, const std::string& path, std::vector<Permission> permissions);
    Reply apply(Session& session, std::uint32_t tx, Edit edit);
    Outcome<Transaction*> transaction_of(Session& session, std::uint32_t tx);
    Outcome<Editor> reader(Session& session, std::uint32_t tx);
    void publish(std::vector<Change> changes);
    EditContext live() { return {tree_, accounts_, limits_, generation_, domain_exists_}; }

    // store_sessions.cpp: transactions and watches
    Reply transaction_start(Session& session, const wire::Message& request);
    Reply transaction_end(Session& session, const wire::Message& request);
    Reply commit(const Session& session, const Transaction& transaction);
    Reply watch(Session& session, const wire::Message& request);
    Reply unwatch(Session& session, const wire::Message& request);
    Reply reset_watches(Session& session, const wire::Message& request);
    Outcome<std::string> watch_path(const Session& session, const std::string& path) const;
    void fire(Watched& watch, const std::string& path);
    void send_event(const Watched& watch, const std::string& path);
    void fire_special(const std::string& name, std::uint16_t domid);

    // store_domains.cpp
    Reply introduce(Session& session, const wire::Message& request);
    Reply release(Session& session, const wire::Message& request);
    Reply resume(Session& session, const wire::Message& request);
    Reply set_target(Session& session, const wire::Message& request);
    Reply is_introduced(Session& session, const wire::Message& request);
    Reply domain_path(Session& session, const wire::Message& request);
    Reply control(Session& session, const wire::Message& request);
    std::string control_quota(const std::vector<std::string>& words);
    std::string check() const;
    void forget(std::uint16_t domid);
    void purge(std::uint16_t domid);
    void purge_permissions(std::uint16_t domid, const std::vector<std::string>& paths);
    void domain_changed(std::uint16_t domid, const DomainState* now);
    void refer(std::uint16_t domid);

    // store_state.cpp
    void restore_node(const Record& record);
    void restore_session(const Record& record);

    const Caller& caller_of(ConnectionId connection) const;
    void record(Record record) { host_.record(std::move(record)); }

    Host& host_;
    Limits limits_;
    std::function<bool(std::uint16_t)> domain_exists_;
    Tree tree_;
    Accounts accounts_;
    Watches watches_;
    std::uint64_t generation_;
    std::map<ConnectionId, Session> sessions_;
    std::map<std::uint16_t, Domain> domains_;
    std::set<std::uint16_t> referenced_; // domains that permission lists may name
    std::map<std::string, std::vector<Permission>> specials_;
    std::set<ConnectionId> held_;
};

} // namespace domus::xenstore::tree
