// One client on the unix socket. Acts as domain 0, a backend's daemon with less than its rights (peer.hpp).
// Owner: Daemon's map and its own two coroutines. Lock: none, one thread. Dies with the socket; nothing is journalled
// but what it changes in the tree.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

#include <memory>

#include "xenstore-lite/server/outbox.hpp"
#include "xenstore-lite/server/peer.hpp"
#include "xenstore-lite/tree/store.hpp"

namespace domus::xenstore::server {

namespace asio = boost::asio;
class Daemon;

class SocketSession : public std::enable_shared_from_this<SocketSession> {
public:
    SocketSession(Daemon& daemon, tree::ConnectionId id, Peer peer, asio::local::stream_protocol::socket socket);

    void start();
    /// Ends both coroutines; the daemon is not touched any more.
    void close();

    void deliver(const wire::Message& message) { outbox_.append(message); }
    /// After journalling: lets the writing coroutine go on.
    void flush();
    bool congested() const { return outbox_.size() > backlog_limit; }

private:
    static constexpr std::size_t backlog_limit = 4 * 1024 * 1024;

    asio::awaitable<void> read_loop();
    void judge(const wire::Message& request);
    asio::awaitable<void> write_loop();
    asio::awaitable<void> wait_until_drained();

    Daemon* daemon_; // null once closed: the coroutines may end after the daemon
    tree::ConnectionId id_;
    Peer peer_;
    bool warned_ = false;
    asio::local::stream_protocol::socket socket_;
    asio::steady_timer drained_;
    Outbox outbox_;
    bool writing_ = false;
};

} // namespace domus::xenstore::server
