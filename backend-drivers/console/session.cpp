// See session.hpp.
#include "backend-drivers/console/session.hpp"

#include <array>
#include <chrono>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/write.hpp>

namespace domus::console {

namespace asio = boost::asio;

Session::Session(Socket socket, FindGuest find)
    : socket_(std::move(socket)), find_(std::move(find)), more_(socket_.get_executor()) {}

asio::awaitable<void> Session::run() {
    const auto self = shared_from_this();
    const bool greeted = co_await greet(); // not inside the condition: g++ 12 miscompiles co_await there
    if (!greeted) {
        co_return;
    }
    asio::co_spawn(socket_.get_executor(), write_output(self), asio::detached);
    co_await read_input();
    guest_->detach(*this);
    ended_ = true;
    more_.notify();
}

asio::awaitable<bool> Session::greet() {
    using namespace std::chrono_literals;
    // A client that connects and says nothing must not stay for ever.
    asio::steady_timer patience(socket_.get_executor(), 10s);
    patience.async_wait([weak = weak_from_this()](boost::system::error_code stopped) {
        if (const auto self = weak.lock(); self && !stopped) {
            boost::system::error_code ignored;
            self->socket_.cancel(ignored);
        }
    });
    const std::string line = co_await read_line();
    patience.cancel();
    std::string answer;
    if (const auto request = parse_attach(line)) {
        try {
            auto found = find_(request->domid);
            const auto guest = co_await std::move(found);
            guest_ = guest;
            answer = "ok " + guest_->name() + "\n";
            if (request->replay) {
                answer += guest_->recent_output();
            }
            guest_->attach(*this);
        } catch (const std::runtime_error& error) {
            answer = std::string("error ") + error.what() + "\n";
        }
    } else {
        answer = "error this is the console daemon: use `domus console` of the same version\n";
    }
    backlog_ = std::move(answer);
    if (!guest_) {
        boost::system::error_code ignored;
        co_await asio::async_write(socket_, asio::buffer(backlog_), asio::redirect_error(asio::use_awaitable, ignored));
    }
    co_return guest_ != nullptr;
}

asio::awaitable<std::string> Session::read_line() {
    std::array<char, longest_line> chunk;
    for (;;) {
        if (const auto end = received_.find('\n'); end != std::string::npos) {
            const std::string line = received_.substr(0, end);
            received_.erase(0, end + 1);
            co_return line;
        }
        if (received_.size() >= longest_line) {
            co_return std::string();
        }
        boost::system::error_code failed;
        const std::size_t got =
            co_await socket_.async_read_some(asio::buffer(chunk), asio::redirect_error(asio::use_awaitable, failed));
        if (failed) {
            co_return std::string();
        }
        received_.append(chunk.data(), got);
    }
}

asio::awaitable<void> Session::read_input() {
    std::array<char, 1024> chunk;
    if (!received_.empty()) {
        guest_->input(received_);
    }
    while (!ended_) {
        while (!guest_->input_room() && !guest_->closed()) {
            co_await guest_->input_taken().wait();
        }
        boost::system::error_code failed;
        const std::size_t got =
            co_await socket_.async_read_some(asio::buffer(chunk), asio::redirect_error(asio::use_awaitable, failed));
        if (failed) {
            break;
        }
        if (!guest_->closed()) {
            guest_->input({chunk.data(), got});
        }
    }
}

void Session::output(std::string_view bytes) {
    backlog_.append(bytes);
    if (backlog_.size() > backlog_bytes) {
        const std::size_t excess = backlog_.size() - backlog_bytes / 2;
        backlog_.erase(0, excess);
        dropped_ += excess;
    }
    more_.notify();
}

void Session::ended() {
    ended_ = true;
    more_.notify();
}

asio::awaitable<void> Session::write_output(std::shared_ptr<Session> self) {
    for (;;) {
        if (self->backlog_.empty()) {
            if (self->ended_) {
                break;
            }
            co_await self->more_.wait();
            continue;
        }
        std::string bytes;
        if (const std::size_t dropped = std::exchange(self->dropped_, 0)) {
            bytes = "\r\n[" + std::to_string(dropped) + " bytes were not read in time and are lost here]\r\n";
        }
        bytes += std::exchange(self->backlog_, {});
        boost::system::error_code failed;
        co_await asio::async_write(self->socket_, asio::buffer(bytes),
                                   asio::redirect_error(asio::use_awaitable, failed));
        if (failed) {
            break;
        }
    }
    boost::system::error_code ignored;
    self->socket_.shutdown(Socket::shutdown_both, ignored); // ends read_input() too
}

} // namespace domus::console
