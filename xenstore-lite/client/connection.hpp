// The socket (or device) below a Client: requests in flight, events by token, reconnecting. Private to client/.
// Owner: shared by the Client, its Watches and its own reading coroutine. Lock: none, one io_context.
// Must be close()d by the Client, or the reading coroutine keeps it alive.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "xenstore-lite/client/client.hpp"
#include "xenstore-lite/wire/codec.hpp"

namespace domus::xenstore {

class Connection : public std::enable_shared_from_this<Connection> {
public:
    Connection(asio::any_io_executor executor, std::string socket_path);

    /// First connect; throws at once when nobody listens, because a wrong path should not take 30 s to report.
    asio::awaitable<void> open();

    /// Fails everything in flight with ECANCELED and ends the reading coroutine.
    void close();

    /// Sends one request and waits for its reply's payload. `what` names the request in errors.
    asio::awaitable<std::string> request(std::uint32_t type, Tx tx, std::string payload, std::string what);

    /// Sends all of them before the first reply is waited for, and returns when all are answered: two wake-ups of each
    /// side instead of two per request. Throws the first failure in their order.
    struct Order {
        std::uint32_t type;
        std::string payload;
        std::string what;
    };
    asio::awaitable<void> request_all(Tx tx, std::vector<Order> orders);

    asio::awaitable<Tx> transaction_start();
    asio::awaitable<bool> transaction_end(Tx tx, bool commit);

    std::string new_token() { return "domus-" + std::to_string(++last_token_); }
    asio::awaitable<void> add_watch(std::string path, std::string token);
    void drop_watch(const std::string& path, const std::string& token);
    asio::awaitable<std::string> next_event(std::string token);

private:
    struct Pending {
        explicit Pending(const asio::any_io_executor& executor)
            : done(executor, asio::steady_timer::time_point::max()) {}
        wire::Message request;
        std::string reply;
        int error = 0;
        bool finished = false;
        asio::steady_timer done; // never expires: cancelled when finished
    };
    struct Events {
        explicit Events(const asio::any_io_executor& executor)
            : arrived(executor, asio::steady_timer::time_point::max()) {}
        std::string path;
        std::deque<std::string> queue;
        asio::steady_timer arrived; // never expires: cancelled on every event
    };

    std::uint32_t server_number(Tx tx, const std::string& what) const;
    asio::awaitable<void> answered(std::shared_ptr<Pending> pending);
    std::shared_ptr<Pending> submit(std::uint32_t type, std::uint32_t server_tx, std::string payload);
    static void finish(Pending& pending, int error, std::string reply);
    void send(std::string bytes);
    void receive(wire::Message message);
    void receive_event(const std::string& payload);
    void fail_all(int error);
    void resume_requests();
    asio::awaitable<void> write_loop();
    asio::awaitable<void> read_loop();
    asio::awaitable<void> read_until_lost();
    asio::awaitable<bool> reconnect();

    // A domain that has no socket of the daemon's talks through its kernel's /dev/xen/xenbus (connection_device.cpp).
    bool open_device();
    asio::awaitable<void> write_device();
    std::map<std::uint32_t, std::shared_ptr<Pending>>::iterator answered_without_number(std::uint32_t type);

    asio::any_io_executor executor_;
    std::string socket_path_;
    asio::local::stream_protocol::socket socket_;
    asio::posix::stream_descriptor device_; // open: in the socket's place
    asio::steady_timer retry_;
    std::string outbox_;
    bool writing_ = false;
    bool device_waits_ = false; // for the answer to the one request that the device has
    int broken_ = 0;            // errno value once the connection is lost for good
    std::uint32_t last_id_ = 0;
    Tx last_tx_ = 0;
    std::uint64_t last_token_ = 0;
    std::map<std::uint32_t, std::shared_ptr<Pending>> pending_;
    std::map<Tx, std::uint32_t> transactions_; // our number to the daemon's; emptied when the connection is lost
    std::map<std::string, std::shared_ptr<Events>> watches_; // by token
};

} // namespace domus::xenstore
