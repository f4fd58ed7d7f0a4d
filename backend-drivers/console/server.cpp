// See server.hpp.
#include "backend-drivers/console/server.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <spdlog/spdlog.h>

namespace domus::console {

namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;

Protocol::acceptor listen(const asio::any_io_executor& executor, const std::string& path) {
    boost::system::error_code failed;
    Protocol::socket probe(executor);
    probe.connect(Protocol::endpoint(path), failed);
    if (!failed) {
        throw std::runtime_error("another console daemon answers on " + path + ": stop it first");
    }
    ::unlink(path.c_str());
    Protocol::acceptor acceptor(executor);
    acceptor.open();
    const mode_t before = ::umask(0177); // nobody may connect between bind and a later chmod
    acceptor.bind(Protocol::endpoint(path), failed);
    ::umask(before);
    if (failed) {
        throw std::runtime_error("cannot listen on " + path + ": " + failed.message());
    }
    acceptor.listen();
    return acceptor;
}

asio::awaitable<void> accept_terminals(Protocol::acceptor acceptor, FindGuest find) {
    for (;;) {
        boost::system::error_code failed;
        Protocol::socket socket = co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, failed));
        if (failed == asio::error::operation_aborted) {
            co_return;
        }
        if (failed) { // out of descriptors, most likely: those attached go on
            spdlog::warn("cannot accept a terminal: {}", failed.message());
            asio::steady_timer pause(acceptor.get_executor(), std::chrono::milliseconds(200));
            co_await pause.async_wait(asio::use_awaitable);
            continue;
        }
        auto session = std::make_shared<Session>(std::move(socket), find);
        asio::co_spawn(
            acceptor.get_executor(), [session]() { return session->run(); },
            [](std::exception_ptr failure) {
                try {
                    if (failure) {
                        std::rethrow_exception(failure);
                    }
                } catch (const std::exception& error) {
                    spdlog::warn("a terminal was dropped: {}", error.what());
                }
            });
    }
}

} // namespace domus::console
