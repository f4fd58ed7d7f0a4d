// The unix socket of domusd: sessions with clients, one request at a time each. Owner: domusd's main. No lock.
#pragma once

#include "toolstack/daemon/dispatch.hpp"

#include <boost/asio/local/stream_protocol.hpp>
#include <string>

namespace domus::daemon {

/// Binds the socket at `path` (mode 0600), replacing what an earlier domusd left. The caller holds the lock file, so
/// nobody listens there. Throws std::runtime_error.
boost::asio::local::stream_protocol::acceptor listen_at(boost::asio::any_io_executor executor, const std::string& path);

/// Serves clients until the acceptor is closed.
boost::asio::awaitable<void> serve(boost::asio::local::stream_protocol::acceptor& acceptor, Dispatcher& dispatcher);

/// One client, from its hello to its end. Tests call it on one end of a socket pair.
boost::asio::awaitable<void> serve_client(boost::asio::local::stream_protocol::socket socket, Dispatcher& dispatcher);

} // namespace domus::daemon
