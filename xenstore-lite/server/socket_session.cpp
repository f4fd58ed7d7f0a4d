// Reading and writing of one socket. See socket_session.hpp.
#include "xenstore-lite/server/socket_session.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <utility>

#include "xenstore-lite/server/daemon.hpp"

namespace domus::xenstore::server {

namespace {
constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);
}

SocketSession::SocketSession(Daemon& daemon, tree::ConnectionId id, Peer peer,
                             asio::local::stream_protocol::socket socket)
    : daemon_(&daemon), id_(id), peer_(std::move(peer)), socket_(std::move(socket)), drained_(socket_.get_executor()) {}

void SocketSession::start() {
    asio::co_spawn(
        socket_.get_executor(), [self = shared_from_this()]() -> asio::awaitable<void> { co_await self->read_loop(); },
        asio::detached);
}

void SocketSession::close() {
    daemon_ = nullptr;
    boost::system::error_code ignored;
    socket_.close(ignored);
    drained_.cancel();
}

asio::awaitable<void> SocketSession::wait_until_drained() {
    while (congested() && socket_.is_open()) {
        drained_.expires_at(asio::steady_timer::time_point::max());
        co_await drained_.async_wait(no_throw);
    }
}

asio::awaitable<void> SocketSession::read_loop() {
    wire::Decoder decoder;
    std::array<char, 8192> buffer;
    while (!decoder.broken()) {
        const auto [error, count] = co_await socket_.async_read_some(asio::buffer(buffer), no_throw);
        if (error) {
            break;
        }
        decoder.feed({buffer.data(), count});
        while (daemon_) {
            const auto message = decoder.next();
            if (!message) {
                break;
            }
            judge(*message);
            co_await wait_until_drained();
        }
    }
    if (daemon_) {
        daemon_->socket_closed(id_);
    }
}

void SocketSession::judge(const wire::Message& request) {
    if (peer_.may(request)) {
        daemon_->handle(id_, request);
        return;
    }
    if (!std::exchange(warned_, true)) { // once for a connection: it may be a hostile one
        std::string path = request.payload.substr(0, std::min<std::size_t>(request.payload.find('\0'), 100));
        std::replace_if( // a log is read on a terminal
            path.begin(), path.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
        spdlog::warn("user {} may not {} {}", peer_.user, wire::type_name(request.type), path);
    }
    daemon_->refuse(id_, request);
}

void SocketSession::flush() {
    if (writing_ || outbox_.empty() || !socket_.is_open()) {
        return;
    }
    writing_ = true;
    asio::co_spawn(
        socket_.get_executor(), [self = shared_from_this()]() -> asio::awaitable<void> { co_await self->write_loop(); },
        asio::detached);
}

asio::awaitable<void> SocketSession::write_loop() {
    while (!outbox_.empty() && socket_.is_open()) {
        const bool was_congested = congested();
        const std::string bytes = outbox_.take(64 * 1024);
        const auto [error, count] = co_await asio::async_write(socket_, asio::buffer(bytes), no_throw);
        if (error) {
            break; // the reading side sees the end as well
        }
        if (was_congested && !congested() && daemon_) {
            drained_.cancel();
            daemon_->drained(id_);
        }
    }
    writing_ = false;
}

} // namespace domus::xenstore::server
