// The unix socket of domusd. No lock.
#include <utility>

#include "toolstack/daemon/server.hpp"

#include "toolstack/proto/frame.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <deque>
#include <exception>
#include <fmt/format.h>
#include <memory>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

namespace domus::daemon {

namespace asio = boost::asio;
using Socket = proto::Socket;

namespace {

constexpr std::size_t most_waiting_stages = 1000; // a client that does not read loses stages, not domusd's memory

/// The sending side of a session: answers go out in order, without anybody waiting for a slow client.
class Outbox : public std::enable_shared_from_this<Outbox> {
public:
    explicit Outbox(Socket& socket) : socket_(socket) {}

    void post_stage(std::string_view text, std::chrono::milliseconds elapsed) {
        if (broken_ || queue_.size() >= most_waiting_stages)
            return;
        proto::Response stage;
        stage.mutable_stage()->set_text(std::string(text));
        stage.mutable_stage()->set_elapsed_ms(std::uint64_t(elapsed.count()));
        queue_.push_back(std::move(stage));
        if (!sending_)
            asio::co_spawn(socket_.get_executor(), flush_later(shared_from_this()), asio::detached);
    }

    /// Sends what waits and then `last`. A stage being sent just now is waited for.
    asio::awaitable<void> finish(proto::Response last) {
        queue_.push_back(std::move(last));
        asio::steady_timer pause(socket_.get_executor());
        while (sending_) {
            pause.expires_after(std::chrono::milliseconds(1));
            co_await pause.async_wait(asio::use_awaitable);
        }
        if (broken_)
            std::rethrow_exception(broken_);
        co_await flush();
    }

private:
    static asio::awaitable<void> flush_later(std::shared_ptr<Outbox> self) {
        try {
            if (!self->sending_ && !self->broken_)
                co_await self->flush();
        } catch (const std::exception&) {
            // The client has gone; the work it asked for goes on. Nothing may be sent after that: Asio tries a broken
            // socket twice and then waits for ever for it to become writable.
            self->broken_ = std::current_exception();
        }
    }

    asio::awaitable<void> flush() {
        sending_ = true;
        const std::unique_ptr<bool, void (*)(bool*)> reset(&sending_, [](bool* flag) { *flag = false; });
        while (!queue_.empty()) {
            const proto::Response next = std::move(queue_.front());
            queue_.pop_front();
            co_await proto::send(socket_, next);
        }
    }

    Socket& socket_;
    std::deque<proto::Response> queue_;
    bool sending_ = false;
    std::exception_ptr broken_; // why nothing can be sent any more
};

asio::awaitable<bool> greet(Socket& socket) {
    proto::Hello theirs, ours;
    co_await proto::receive(socket, theirs);
    ours.set_version(proto::kProtocolVersion);
    ours.set_program("domusd");
    co_await proto::send(socket, ours);
    const auto complaint =
        proto::version_complaint(proto::kProtocolVersion, "domusd", theirs.version(), theirs.program());
    if (!complaint.empty())
        spdlog::warn("a client is turned away: {}", complaint);
    co_return complaint.empty();
}

asio::awaitable<void> serve_one(Socket& socket, Dispatcher& dispatcher) {
    const auto started = std::chrono::steady_clock::now();
    const auto elapsed = [started] {
        return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - started);
    };
    proto::Request request;
    co_await proto::receive(socket, request);
    const auto outbox = std::make_shared<Outbox>(socket);
    // A name of its own: g++ 12 destroys the captures of a temporary closure in a co_await expression twice.
    engine::Progress tell = [outbox, elapsed](std::string_view text) { outbox->post_stage(text, elapsed()); };
    auto response = co_await dispatcher.answer(std::move(request), std::move(tell));
    if (response.has_created())
        response.mutable_created()->set_seconds(double(elapsed().count()) / 1000);
    co_await outbox->finish(std::move(response));
}

} // namespace

asio::awaitable<void> serve_client(Socket socket, Dispatcher& dispatcher) {
    try {
        const bool welcome = co_await greet(socket);
        while (welcome)
            co_await serve_one(socket, dispatcher);
    } catch (const boost::system::system_error& e) {
        if (e.code() != asio::error::eof && e.code() != asio::error::broken_pipe &&
            e.code() != asio::error::connection_reset)
            spdlog::warn("a client's connection failed: {}", e.what());
    } catch (const std::exception& e) {
        spdlog::warn("a client is turned away: {}", e.what());
    }
}

asio::local::stream_protocol::acceptor listen_at(asio::any_io_executor executor, const std::string& path) {
    ::unlink(path.c_str());
    const auto old_mask = ::umask(0177); // root only, from the first moment on
    asio::local::stream_protocol::acceptor acceptor(executor);
    boost::system::error_code failed;
    acceptor.open(asio::local::stream_protocol(), failed);
    if (!failed)
        acceptor.bind(asio::local::stream_protocol::endpoint(path), failed);
    ::umask(old_mask);
    if (!failed)
        acceptor.listen(asio::socket_base::max_listen_connections, failed);
    if (failed)
        throw std::runtime_error(fmt::format(
            "cannot listen at {}: {}; check the directory, or give another by --socket", path, failed.message()));
    return acceptor;
}

asio::awaitable<void> serve(asio::local::stream_protocol::acceptor& acceptor, Dispatcher& dispatcher) {
    while (acceptor.is_open()) {
        auto [failed, socket] = co_await acceptor.async_accept(asio::as_tuple(asio::use_awaitable));
        if (failed == asio::error::operation_aborted)
            co_return;
        if (failed) { // out of descriptors, most likely: clients that end give some back
            spdlog::error("cannot take a client: {}", failed.message());
            asio::steady_timer pause(acceptor.get_executor(), std::chrono::milliseconds(100));
            co_await pause.async_wait(asio::use_awaitable);
            continue;
        }
        asio::co_spawn(acceptor.get_executor(), serve_client(std::move(socket), dispatcher), asio::detached);
    }
}

} // namespace domus::daemon
