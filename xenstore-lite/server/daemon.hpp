// The daemon: brings together the store, the journal, the rings and the socket on one io_context.
// Owner: main (or a test). Lock: none, one thread. Everything that makes the store change ends in settle(), which
// journals first and only then lets clients see anything.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "xenstore-lite/server/journal.hpp"
#include "xenstore-lite/server/peer.hpp"
#include "xenstore-lite/server/platform.hpp"
#include "xenstore-lite/server/ring_session.hpp"
#include "xenstore-lite/server/socket_session.hpp"

namespace domus::xenstore::server {

struct DaemonOptions {
    std::filesystem::path socket = "/var/run/xenstored/socket";
    std::filesystem::path state_folder = "/run/domus/xenstore";
    BackendUsers backend_users = default_backend_users();
    tree::Limits limits;
};

class Daemon final : public tree::Host {
public:
    /// Without a platform only the socket is served (for tests and for looking at a store off line).
    Daemon(asio::io_context& context, DaemonOptions options, Platform* platform);
    ~Daemon() override;

    /// Loads the journal, takes the rings up again, opens the socket. Throws with a message for the administrator.
    void start();
    /// Closes the socket and lets go of the rings; the state stays in the journal.
    void stop();

    // For sessions.
    void handle(tree::ConnectionId connection, const wire::Message& request);
    /// Answers with EACCES: it is not this connection's to ask.
    void refuse(tree::ConnectionId connection, const wire::Message& request);
    void socket_closed(tree::ConnectionId connection);
    void drained(tree::ConnectionId connection);

    // tree::Host
    bool domain_exists(std::uint16_t domid) override;
    int connect(std::uint16_t domid, std::uint64_t frame, std::uint32_t port) override;
    void disconnect(std::uint16_t domid) override;
    void deliver(tree::ConnectionId connection, const wire::Message& message) override;
    bool congested(tree::ConnectionId connection) override;
    void log_requests(bool on) override { log_requests_ = on; }
    void print(const std::string& text) override;
    void record(tree::Record record) override { batch_.push_back(std::move(record)); }

private:
    void load_journal();
    void take_up_rings();
    void take_up(std::uint16_t domid, const tree::Domain& domain);
    void connect_own_kernel();
    Port bind_patiently(std::uint16_t domid, std::uint32_t port);
    void open_socket();
    asio::awaitable<void> accept_loop();
    void admit(asio::local::stream_protocol::socket socket);
    asio::awaitable<void> event_loop();
    void on_event(Port port);
    void add_ring(std::uint16_t domid, std::unique_ptr<RingSession> ring);
    void work(std::uint16_t domid);
    void work_later(std::uint16_t domid);
    void look_for_dead_domains();
    void settle();
    void commit();
    void write_compact();
    void watch_holds();

    asio::io_context& context_;
    DaemonOptions options_;
    Platform* platform_;
    Journal journal_;
    tree::Store store_;
    asio::local::stream_protocol::acceptor acceptor_;
    asio::posix::stream_descriptor events_;
    asio::steady_timer hold_timer_;
    bool hold_timer_runs_ = false;
    bool log_requests_ = false;
    bool settling_ = false;
    std::optional<Port> exit_port_;
    tree::ConnectionId last_socket_ = tree::first_socket;
    std::vector<tree::Record> batch_;              // records not journalled yet, in order
    std::map<std::uint16_t, RingMemory> memories_; // while starting: what the journal says of each ring
    std::map<std::uint16_t, std::unique_ptr<RingSession>> rings_;
    std::vector<std::unique_ptr<RingSession>> retired_; // disconnected in this step, perhaps by their own request
    std::map<Port, std::uint16_t> ring_of_port_;
    std::map<tree::ConnectionId, std::shared_ptr<SocketSession>> sockets_;
    std::set<std::uint16_t> work_waits_;                         // domains whose work() is posted already
    std::set<tree::ConnectionId> dirty_;                         // have something to flush
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true); // for handlers that may run after us
};

} // namespace domus::xenstore::server
