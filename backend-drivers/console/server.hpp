// The unix socket that terminals attach through. Owner: the daemon's main. No lock: one io_context.
#pragma once

#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include "backend-drivers/console/session.hpp"

namespace domus::console {

/// Listens on `path`, readable and writable for its owner only. A socket left by a dead daemon is replaced; if a
/// daemon answers there, throws std::runtime_error.
boost::asio::local::stream_protocol::acceptor listen(const boost::asio::any_io_executor& executor,
                                                     const std::string& path);

/// Accepts terminals for ever, each in its own coroutine.
boost::asio::awaitable<void> accept_terminals(boost::asio::local::stream_protocol::acceptor acceptor, FindGuest find);

} // namespace domus::console
