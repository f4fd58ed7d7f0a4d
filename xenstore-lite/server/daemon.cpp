// Sessions, events and the order of journal and visibility. See daemon.hpp; starting is in daemon_start.cpp.
#include "xenstore-lite/server/daemon.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <spdlog/spdlog.h>

#include <chrono>

#include <sys/socket.h>

namespace domus::xenstore::server {

namespace {
constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds longest_hold{100};
} // namespace

void Daemon::handle(tree::ConnectionId connection, const wire::Message& request) {
    if (log_requests_) {
        spdlog::info("connection {}: {} tx {} {} bytes", connection, wire::type_name(request.type), request.tx_id,
                     request.payload.size());
    }
    store_.handle(connection, request);
    settle();
}

void Daemon::refuse(tree::ConnectionId connection, const wire::Message& request) {
    deliver(connection, {XS_ERROR, request.req_id, request.tx_id, std::string(wire::error_name(EACCES)) + '\0'});
    settle();
}

void Daemon::deliver(tree::ConnectionId connection, const wire::Message& message) {
    if (connection >= tree::first_socket) {
        if (const auto socket = sockets_.find(connection); socket != sockets_.end()) {
            socket->second->deliver(message);
            dirty_.insert(connection);
        }
        return;
    }
    const auto domid = static_cast<std::uint16_t>(connection);
    if (const auto ring = rings_.find(domid); ring != rings_.end()) {
        if (std::string bytes = ring->second->deliver(message); !bytes.empty()) {
            record({tree::Record::Kind::output, connection, 0, 0, {}, std::move(bytes), {}});
            dirty_.insert(connection);
        }
    }
}

bool Daemon::domain_exists(std::uint16_t domid) {
    try {
        return !platform_ || platform_->exists(domid);
    } catch (const boost::system::system_error& error) {
        spdlog::error("cannot find out whether domain {} exists: {}", domid, error.what());
        return false;
    }
}

bool Daemon::congested(tree::ConnectionId connection) {
    if (connection >= tree::first_socket) {
        const auto socket = sockets_.find(connection);
        return socket != sockets_.end() && socket->second->congested();
    }
    const auto ring = rings_.find(static_cast<std::uint16_t>(connection));
    return ring != rings_.end() && ring->second->congested();
}

void Daemon::print(const std::string& text) {
    spdlog::info("{}", text);
}

void Daemon::write_compact() {
    std::vector<tree::Record> state = store_.snapshot();
    for (const auto& [domid, ring] : rings_) {
        for (auto& each : ring->snapshot()) {
            state.push_back(std::move(each));
        }
    }
    if (!journal_.rewrite(state)) {
        spdlog::critical("journal {}: cannot be rewritten: a restart would lose state; free some space",
                         options_.state_folder.string());
    }
}

void Daemon::commit() {
    for (const auto& [domid, ring] : rings_) {
        if (auto input = ring->input_record()) {
            record(std::move(*input));
        }
    }
    if (!batch_.empty()) {
        journal_.append(std::exchange(batch_, {}));
    }
    if (journal_.wants_rewrite()) {
        write_compact();
    }
}

void Daemon::settle() {
    if (settling_) {
        return; // inside the loop below, which goes round until nothing is left
    }
    settling_ = true;
    do {
        commit();
        for (const auto connection : std::exchange(dirty_, {})) {
            if (const auto socket = sockets_.find(connection); socket != sockets_.end()) {
                socket->second->flush();
            } else if (const auto ring = rings_.find(static_cast<std::uint16_t>(connection));
                       connection < tree::first_socket && ring != rings_.end()) {
                const bool drained = ring->second->flush();
                if (drained) {
                    store_.drained(connection);
                }
                if (drained || ring->second->has_input()) {
                    work_later(ring->first);
                }
            }
        }
    } while (!batch_.empty() || !dirty_.empty());
    retired_.clear();
    settling_ = false;
    watch_holds();
}

void Daemon::watch_holds() {
    if (!store_.any_held() || hold_timer_runs_) {
        return;
    }
    hold_timer_runs_ = true;
    hold_timer_.expires_after(longest_hold);
    hold_timer_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code error) {
        if (error || alive.expired()) {
            return;
        }
        hold_timer_runs_ = false;
        store_.release_holds();
        for (const auto& [domid, ring] : rings_) {
            work_later(domid);
        }
    });
}

void Daemon::work_later(std::uint16_t domid) {
    if (!work_waits_.insert(domid).second) {
        return;
    }
    asio::post(context_, [this, domid, alive = std::weak_ptr(alive_)] {
        if (!alive.expired()) {
            work_waits_.erase(domid);
            work(domid);
        }
    });
}

void Daemon::work(std::uint16_t domid) {
    const auto ring = rings_.find(domid);
    if (ring == rings_.end()) {
        return;
    }
    RingSession* const session = ring->second.get();
    const bool more = session->take();
    dirty_.insert(domid);
    settle();
    const bool still_there = rings_.contains(domid) && rings_[domid].get() == session;
    if (more && still_there) {
        work_later(domid);
    }
}

void Daemon::on_event(Port port) {
    platform_->unmask(port); // before looking, or what comes in between would be missed
    if (port == exit_port_) {
        look_for_dead_domains();
    } else if (const auto owner = ring_of_port_.find(port); owner != ring_of_port_.end()) {
        work(owner->second);
    }
}

void Daemon::look_for_dead_domains() {
    try {
        store_.domains_changed(platform_->domains());
    } catch (const boost::system::system_error& error) {
        spdlog::error("cannot find out which domains died: {}", error.what());
    }
    settle();
}

asio::awaitable<void> Daemon::event_loop() {
    const std::weak_ptr alive(alive_);
    for (;;) {
        const auto [error] = co_await events_.async_wait(asio::posix::stream_descriptor::wait_read, no_throw);
        if (error || alive.expired()) {
            co_return;
        }
        // All are taken before one is handled: handled, a port may come again at once, and a guest that asks without
        // pause would keep this here and the sockets waiting.
        std::vector<Port> ports;
        for (auto port = platform_->pending(); port; port = platform_->pending()) {
            ports.push_back(*port);
        }
        for (const Port port : ports) {
            on_event(port);
        }
    }
}

int Daemon::connect(std::uint16_t domid, std::uint64_t frame, std::uint32_t port) {
    if (!platform_) {
        return 0;
    }
    try {
        auto page = platform_->map(domid, frame);
        const Port local = platform_->bind(domid, port);
        auto ring = std::make_unique<RingSession>(store_, *platform_, domid, std::move(page), local);
        record(ring->ring_record());
        add_ring(domid, std::move(ring));
    } catch (const boost::system::system_error& error) {
        spdlog::error("introduce domain {}: {}", domid, error.what());
        return error.code().value();
    }
    return 0;
}

void Daemon::add_ring(std::uint16_t domid, std::unique_ptr<RingSession> ring) {
    ring_of_port_[ring->port()] = domid;
    rings_[domid] = std::move(ring);
    work_later(domid);
}

void Daemon::disconnect(std::uint16_t domid) {
    const auto ring = rings_.find(domid);
    if (ring == rings_.end()) {
        return;
    }
    ring_of_port_.erase(ring->second->port());
    retired_.push_back(std::move(ring->second));
    rings_.erase(ring);
    if (!settling_) {
        retired_.clear(); // unmapped and unbound now: the domain cannot go while we hold its page
    }
}

void Daemon::drained(tree::ConnectionId connection) {
    store_.drained(connection);
    settle();
}

void Daemon::socket_closed(tree::ConnectionId connection) {
    store_.close(connection);
    if (const auto socket = sockets_.find(connection); socket != sockets_.end()) {
        socket->second->close();
        sockets_.erase(socket);
    }
    settle();
}

asio::awaitable<void> Daemon::accept_loop() {
    const std::weak_ptr alive(alive_);
    for (;;) {
        auto [error, socket] = co_await acceptor_.async_accept(no_throw);
        if (alive.expired() || error == asio::error::operation_aborted) {
            co_return;
        }
        if (error) {
            spdlog::error("socket {}: cannot accept: {}", options_.socket.string(), error.message());
            asio::steady_timer pause(context_, std::chrono::milliseconds(100)); // out of file descriptors, mostly
            co_await pause.async_wait(no_throw);
            continue;
        }
        admit(std::move(socket));
    }
}

void Daemon::admit(asio::local::stream_protocol::socket socket) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
        return;
    }
    auto peer = peer_of(credentials.uid, options_.backend_users);
    if (!peer) {
        return; // closed at once: many of them shall not use up our descriptors
    }
    do {
        if (++last_socket_ < tree::first_socket) {
            last_socket_ = tree::first_socket; // the numbers wrapped
        }
    } while (sockets_.contains(last_socket_));
    auto session = std::make_shared<SocketSession>(*this, last_socket_, std::move(*peer), std::move(socket));
    sockets_.emplace(last_socket_, session);
    store_.open(last_socket_, 0);
    session->start();
}

} // namespace domus::xenstore::server
