// A xenstore daemon in the test's own process: the real store behind a real socket, without journal and rings.
// Requests of the first client (the engine) count as steps of Faults. Owner: the World. No lock, one io_context.
#pragma once

#include "tests/unit/toolstack/fake/faults.hpp"
#include "xenstore-lite/tree/store.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace domus::engine::test {

class StoreServer : private xenstore::tree::Host {
public:
    StoreServer(boost::asio::io_context& io, const std::string& path, Faults& faults);
    ~StoreServer() override;

    /// Called after each request that may have changed the tree; not while it runs.
    std::function<void()> changed;
    /// Whether the hypervisor knows a domain.
    std::function<bool(std::uint16_t)> exists;

    // As dom0's kernel or a test reads and writes, without a socket and without steps.
    std::optional<std::string> read(const std::string& path) const;
    void write(const std::string& path, const std::string& value);
    void remove(const std::string& path);
    std::vector<std::string> children(const std::string& path) const;

    /// Every path with its value and permissions.
    std::map<std::string, std::string> dump() const;
    bool introduced(std::uint16_t domid) const { return store_.domains().contains(domid); }
    /// Tells the store of the hypervisor's domains, as VIRQ_DOM_EXC does: fires @releaseDomain.
    void domains_changed(const std::vector<xenstore::tree::DomainState>& now) { store_.domains_changed(now); }

private:
    using Socket = boost::asio::local::stream_protocol::socket;

    boost::asio::awaitable<void> accept_loop();
    boost::asio::awaitable<void> serve(xenstore::tree::ConnectionId id, std::shared_ptr<Socket> socket);
    void handle(xenstore::tree::ConnectionId id, const xenstore::wire::Message& request);
    void react();

    // xenstore::tree::Host
    bool domain_exists(std::uint16_t domid) override { return !exists || exists(domid); }
    int connect(std::uint16_t, std::uint64_t, std::uint32_t) override { return 0; }
    void disconnect(std::uint16_t) override {}
    void deliver(xenstore::tree::ConnectionId id, const xenstore::wire::Message& message) override;
    bool congested(xenstore::tree::ConnectionId) override { return false; }
    void log_requests(bool) override {}
    void print(const std::string&) override {}
    void record(xenstore::tree::Record) override {}

    Faults& faults_;
    xenstore::tree::Store store_;
    boost::asio::local::stream_protocol::acceptor acceptor_;
    std::map<xenstore::tree::ConnectionId, std::weak_ptr<Socket>> sockets_;
    xenstore::tree::ConnectionId last_id_;
    bool reacting_ = false;
};

} // namespace domus::engine::test
