// One attached terminal: a unix-socket connection between a person and a guest's console.
// Owner: its own coroutines. No lock: one io_context. A terminal that does not read loses old output, never the guest.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include "backend-drivers/console/guest.hpp"
#include "backend-drivers/console/protocol.hpp"

namespace domus::console {

/// Finds the console of a domain, or throws std::runtime_error with what to tell the person.
using FindGuest = std::function<boost::asio::awaitable<std::shared_ptr<Guest>>(std::uint16_t domid)>;

class Session : public Listener, public std::enable_shared_from_this<Session> {
public:
    using Socket = boost::asio::local::stream_protocol::socket;

    Session(Socket socket, FindGuest find);

    /// Runs until the terminal hangs up or the guest is gone.
    boost::asio::awaitable<void> run();

    void output(std::string_view bytes) override;
    void ended() override;

    /// Output that waits for a terminal to read it; older output is dropped beyond this.
    static constexpr std::size_t backlog_bytes = 256 << 10;

private:
    boost::asio::awaitable<bool> greet();
    boost::asio::awaitable<void> read_input();
    static boost::asio::awaitable<void> write_output(std::shared_ptr<Session> self);
    boost::asio::awaitable<std::string> read_line();

    Socket socket_;
    FindGuest find_;
    std::shared_ptr<Guest> guest_;
    std::string received_; // read beyond the first line
    std::string backlog_;
    std::size_t dropped_ = 0;
    bool ended_ = false;
    backend::Signal more_;
};

} // namespace domus::console
