// Asynchronous xenstore client over the unix socket: coroutines on one io_context, many requests in flight.
// Owner: whoever connected it (shared_ptr). Lock: none, everything runs on the io_context it was connected on.
// Called by the toolstack, the console daemon and the backends. Works with any xenstored, not only Domus' own.
//
// If the daemon goes away the client reconnects by itself (for up to reconnect_limit): watches are set again (and
// fire once, which the protocol allows at any time), requests outside transactions are sent again (all of them may
// be repeated safely), requests inside a transaction fail with EAGAIN, on which transaction() starts again.
// Must not be used after its io_context has stopped.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "xenstore-lite/wire/permission.hpp"

namespace domus::xenstore {

namespace asio = boost::asio;

/// Number of a transaction; 0: outside any transaction.
using Tx = std::uint32_t;

/// Where Debian's libxenstore looks: $XENSTORED_PATH, or "socket" below $XENSTORED_RUNDIR or /var/run/xenstored.
std::string default_socket();

/// How long a client tries to reach a daemon that went away before requests fail with the error of connect(2).
inline constexpr std::chrono::seconds reconnect_limit{30};

class Connection; // the socket and the requests in flight; private to client.cpp

/// A watch that is in force as long as this object lives. Events not yet fetched are kept, equal ones once.
class Watch {
public:
    Watch(std::shared_ptr<Connection> connection, std::string path, std::string token);
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch();

    /// Waits for the next event and returns the path that changed (the watched one or one below it). The first
    /// event comes at once, with the watched path itself. One coroutine at a time.
    /// Throws boost::system::system_error when the connection is lost for good or the client is closed.
    asio::awaitable<std::string> next();

private:
    std::shared_ptr<Connection> connection_;
    std::string path_;
    std::string token_;
};

/// One connection. Every call throws boost::system::system_error (errno value, generic_category) whose what()
/// names the request and the path. ENOENT: no such node; EACCES: not allowed; EINVAL: malformed path or argument;
/// ENOSPC: a quota; E2BIG: more than the wire carries (4096 bytes with the path).
class Client {
public:
    /// Connects, or throws what connect(2) says, naming the socket.
    static asio::awaitable<std::shared_ptr<Client>> connect(std::string socket_path = default_socket());

    explicit Client(std::shared_ptr<Connection> connection);
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    /// Closes the connection; requests still in flight fail with ECANCELED.
    ~Client();

    /// Names of the children, in the server's order; in several pieces when one message cannot hold them.
    asio::awaitable<std::vector<std::string>> directory(std::string path, Tx tx = 0);
    asio::awaitable<std::string> read(std::string path, Tx tx = 0);
    /// As read(), but nothing instead of ENOENT.
    asio::awaitable<std::optional<std::string>> try_read(std::string path, Tx tx = 0);
    /// Creates the node and its parents where they are missing.
    asio::awaitable<void> write(std::string path, std::string value, Tx tx = 0);
    asio::awaitable<void> mkdir(std::string path, Tx tx = 0);
    /// Removes the node and all below it; a node that is not there is no error.
    asio::awaitable<void> rm(std::string path, Tx tx = 0);

    asio::awaitable<std::vector<Permission>> get_permissions(std::string path, Tx tx = 0);
    asio::awaitable<void> set_permissions(std::string path, std::vector<Permission> permissions, Tx tx = 0);

    /// Many nodes in one go, in their order: writes each and gives it its permissions (none: those that the node has,
    /// or that a new one inherits). Throws the first failure; the others were tried all the same, so use a transaction.
    struct Node {
        std::string path, value;
        std::vector<Permission> permissions;
    };
    asio::awaitable<void> write_nodes(std::vector<Node> nodes, Tx tx = 0);

    asio::awaitable<Tx> transaction_start();
    /// False: somebody else changed what the transaction had touched, start again.
    asio::awaitable<bool> transaction_end(Tx tx, bool commit);
    /// Runs `body(Tx) -> awaitable<void>` in a transaction: again after a conflict, aborted if it throws.
    /// Gives up with EAGAIN after 1000 conflicts in a row.
    template <class Body>
    asio::awaitable<void> transaction(Body body);

    /// Watches the path and all below it, or "@introduceDomain" / "@releaseDomain".
    asio::awaitable<std::shared_ptr<Watch>> watch(std::string path);

    /// Tells the daemon of a domain's ring: machine frame of the page, and the domain's unbound port.
    asio::awaitable<void> introduce(std::uint16_t domid, std::uint64_t mfn, std::uint32_t port);
    asio::awaitable<void> release(std::uint16_t domid);
    asio::awaitable<void> set_target(std::uint16_t domid, std::uint16_t target);
    /// "/local/domain/<domid>"
    asio::awaitable<std::string> domain_path(std::uint16_t domid);
    asio::awaitable<bool> is_introduced(std::uint16_t domid);

private:
    std::shared_ptr<Connection> connection_;
};

template <class Body>
asio::awaitable<void> Client::transaction(Body body) {
    for (int attempt = 0; attempt < 1000; ++attempt) {
        const Tx tx = co_await transaction_start();
        std::exception_ptr failure;
        bool conflict = false;
        try {
            co_await body(tx);
        } catch (const boost::system::system_error& error) {
            // EAGAIN from inside means that the daemon was restarted: the transaction is gone, nothing was done.
            conflict = error.code() == boost::system::errc::resource_unavailable_try_again;
            failure = std::current_exception();
        } catch (...) {
            failure = std::current_exception();
        }
        if (failure) {
            try {
                co_await transaction_end(tx, false);
            } catch (const boost::system::system_error&) {
                // The body's own failure is the one worth reporting; an abort that fails left nothing behind.
            }
            if (!conflict) {
                std::rethrow_exception(failure);
            }
        }
        bool committed = false;
        if (!conflict) {
            committed = co_await transaction_end(tx, true);
        }
        if (committed) {
            co_return;
        }
    }
    throw boost::system::system_error(EAGAIN, boost::system::generic_category(),
                                      "xenstore transaction: 1000 conflicts in a row");
}

} // namespace domus::xenstore
