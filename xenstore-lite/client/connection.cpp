// Requests in flight, events, reconnecting. See connection.hpp.
#include "xenstore-lite/client/connection.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <tuple>

namespace domus::xenstore {

namespace {
constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);

[[noreturn]] void fail(int error, const std::string& what) {
    throw boost::system::system_error(error, boost::system::generic_category(), what);
}
} // namespace

Connection::Connection(asio::any_io_executor executor, std::string socket_path)
    : executor_(executor), socket_path_(std::move(socket_path)), socket_(executor), device_(executor),
      retry_(executor) {}

asio::awaitable<void> Connection::open() {
    if (!open_device()) {
        const asio::local::stream_protocol::endpoint endpoint(socket_path_);
        const auto [error] = co_await socket_.async_connect(endpoint, no_throw);
        if (error) {
            fail(error.value(), "xenstore: cannot connect to " + socket_path_ + " (is the daemon running?)");
        }
    }
    asio::co_spawn(
        executor_, [self = shared_from_this()]() -> asio::awaitable<void> { co_await self->read_loop(); },
        asio::detached);
}

void Connection::close() {
    broken_ = ECANCELED;
    boost::system::error_code ignored;
    socket_.close(ignored);
    device_.close(ignored);
    retry_.cancel();
    fail_all(ECANCELED);
}

void Connection::fail_all(int error) {
    for (auto& [id, pending] : std::exchange(pending_, {})) {
        finish(*pending, error, {});
    }
    for (auto& [token, events] : watches_) {
        events->arrived.cancel();
    }
}

void Connection::finish(Pending& pending, int error, std::string reply) {
    pending.error = error;
    pending.reply = std::move(reply);
    pending.finished = true;
    pending.done.cancel();
}

std::shared_ptr<Connection::Pending> Connection::submit(std::uint32_t type, std::uint32_t server_tx,
                                                        std::string payload) {
    auto pending = std::make_shared<Pending>(executor_);
    if (broken_ || payload.size() > wire::max_payload) {
        finish(*pending, broken_ ? broken_ : E2BIG, {});
        return pending;
    }
    while (++last_id_ == 0 || pending_.contains(last_id_)) { // 0 marks events
    }
    pending->request = {type, last_id_, server_tx, std::move(payload)};
    pending_.emplace(last_id_, pending);
    send(wire::encode(pending->request));
    return pending;
}

std::uint32_t Connection::server_number(Tx tx, const std::string& what) const {
    if (tx == 0) {
        return 0;
    }
    const auto known = transactions_.find(tx);
    if (known == transactions_.end()) {
        fail(EAGAIN, what); // begun before the connection was lost, or already ended
    }
    return known->second;
}

asio::awaitable<void> Connection::answered(std::shared_ptr<Pending> pending) {
    const auto alive = shared_from_this(); // the client may be destroyed while its requests are in flight
    if (!pending->finished) {
        co_await pending->done.async_wait(no_throw);
    }
    if (!pending->finished) { // the waiting coroutine was cancelled; receive() drops the late reply
        pending_.erase(pending->request.req_id);
        pending->error = ECANCELED;
    }
}

asio::awaitable<std::string> Connection::request(std::uint32_t type, Tx tx, std::string payload, std::string what) {
    auto pending = submit(type, server_number(tx, what), std::move(payload));
    co_await answered(pending);
    if (pending->error != 0) {
        fail(pending->error, what);
    }
    co_return std::move(pending->reply);
}

asio::awaitable<void> Connection::request_all(Tx tx, std::vector<Order> orders) {
    std::vector<std::shared_ptr<Pending>> sent;
    for (auto& order : orders) {
        sent.push_back(submit(order.type, server_number(tx, order.what), std::move(order.payload)));
    }
    for (const auto& pending : sent) {
        co_await answered(pending);
    }
    for (std::size_t i = 0; i < sent.size(); ++i) {
        if (sent[i]->error != 0) {
            fail(sent[i]->error, orders[i].what);
        }
    }
}

asio::awaitable<Tx> Connection::transaction_start() {
    const std::string reply =
        co_await request(XS_TRANSACTION_START, 0, std::string(1, '\0'), "xenstore transaction_start");
    const auto number = wire::parse_decimal(reply.substr(0, reply.find('\0')), 0xffffffff);
    if (!number || *number == 0) {
        fail(EPROTO, "xenstore transaction_start: the daemon answered '" + reply + "'");
    }
    while (++last_tx_ == 0 || transactions_.contains(last_tx_)) {
    }
    transactions_.emplace(last_tx_, static_cast<std::uint32_t>(*number));
    co_return last_tx_;
}

asio::awaitable<bool> Connection::transaction_end(Tx tx, bool commit) {
    const auto alive = shared_from_this();
    if (!transactions_.contains(tx)) {
        co_return false;
    }
    auto payload = std::string(commit ? "T" : "F", 2);
    int error = 0;
    try {
        co_await request(XS_TRANSACTION_END, tx, std::move(payload), "xenstore transaction_end");
    } catch (const boost::system::system_error& failure) {
        error = failure.code().value();
    }
    transactions_.erase(tx);
    if (error != 0 && error != EAGAIN) {
        fail(error, "xenstore transaction_end");
    }
    co_return error == 0;
}

asio::awaitable<void> Connection::add_watch(std::string path, std::string token) {
    const auto alive = shared_from_this();
    auto events = std::make_shared<Events>(executor_);
    events->path = path;
    watches_.emplace(token, std::move(events)); // before the request: the first event may overtake the reply
    std::string payload = path;
    payload.append(1, '\0').append(token).append(1, '\0');
    try {
        co_await request(XS_WATCH, 0, std::move(payload), "xenstore watch " + path);
    } catch (...) {
        watches_.erase(token);
        throw;
    }
}

void Connection::drop_watch(const std::string& path, const std::string& token) {
    watches_.erase(token);
    if (!broken_ && (socket_.is_open() || device_.is_open())) {
        std::string payload = path;
        payload.append(1, '\0').append(token).append(1, '\0');
        submit(XS_UNWATCH, 0, std::move(payload)); // nobody waits for the reply: there is nothing to do about it
    }
}

asio::awaitable<std::string> Connection::next_event(std::string token) {
    const auto alive = shared_from_this();
    auto events = watches_.at(token);
    while (events->queue.empty()) {
        if (broken_) {
            fail(broken_, "xenstore watch " + events->path);
        }
        co_await events->arrived.async_wait(no_throw);
        const auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) {
            fail(ECANCELED, "xenstore watch " + events->path);
        }
    }
    std::string path = std::move(events->queue.front());
    events->queue.pop_front();
    co_return path;
}

void Connection::receive_event(const std::string& payload) {
    const auto strings = wire::split(payload);
    if (strings.size() < 2) {
        return;
    }
    const auto watch = watches_.find(strings[XS_WATCH_TOKEN]);
    if (watch == watches_.end()) {
        return; // unwatched a moment ago
    }
    auto& queue = watch->second->queue;
    if (std::find(queue.begin(), queue.end(), strings[XS_WATCH_PATH]) == queue.end()) {
        queue.push_back(strings[XS_WATCH_PATH]);
    }
    watch->second->arrived.cancel();
}

void Connection::receive(wire::Message message) {
    if (message.type == XS_WATCH_EVENT) {
        receive_event(message.payload);
        return;
    }
    auto found = pending_.find(message.req_id);
    if (device_.is_open()) {
        if (found == pending_.end()) {
            found = answered_without_number(message.type);
        }
        device_waits_ = false;
        send({}); // the next one
    }
    if (found == pending_.end()) {
        if (message.type == XS_TRANSACTION_START) { // nobody waits any more: do not leave it open
            const auto number = wire::parse_decimal(message.payload.substr(0, message.payload.find('\0')), 0xffffffff);
            submit(XS_TRANSACTION_END, static_cast<std::uint32_t>(number.value_or(0)), std::string("F", 2));
        }
        return;
    }
    const auto pending = found->second;
    pending_.erase(found);
    if (message.type == XS_ERROR) {
        finish(*pending, wire::error_number(message.payload.substr(0, message.payload.find('\0'))), {});
    } else if (message.type != pending->request.type) {
        finish(*pending, EPROTO, {});
    } else {
        finish(*pending, 0, std::move(message.payload));
    }
}

void Connection::send(std::string bytes) {
    outbox_ += bytes;
    if (!writing_ && (socket_.is_open() || device_.is_open())) {
        writing_ = true;
        asio::co_spawn(
            executor_, [self = shared_from_this()]() -> asio::awaitable<void> { co_await self->write_loop(); },
            asio::detached);
    }
}

asio::awaitable<void> Connection::write_loop() {
    if (device_.is_open()) {
        co_await write_device();
    }
    while (!outbox_.empty() && socket_.is_open()) {
        const std::string bytes = std::exchange(outbox_, {});
        const auto [error, count] = co_await asio::async_write(socket_, asio::buffer(bytes), no_throw);
        if (error) {
            break; // read_loop sees the same error and decides
        }
    }
    writing_ = false;
}

asio::awaitable<void> Connection::read_until_lost() {
    wire::Decoder decoder;
    std::array<char, 8192> buffer;
    while (!decoder.broken()) {
        boost::system::error_code error;
        std::size_t count = 0;
        if (device_.is_open()) {
            std::tie(error, count) = co_await device_.async_read_some(asio::buffer(buffer), no_throw);
        } else {
            std::tie(error, count) = co_await socket_.async_read_some(asio::buffer(buffer), no_throw);
        }
        if (error) {
            co_return;
        }
        decoder.feed({buffer.data(), count});
        while (auto message = decoder.next()) {
            receive(std::move(*message));
        }
    }
}

asio::awaitable<void> Connection::read_loop() {
    bool connected = true;
    while (connected) { // no co_await inside && or ||: g++ 12 miscompiles it under -fsanitize=undefined
        co_await read_until_lost();
        connected = false;
        if (!broken_) {
            connected = co_await reconnect();
        }
    }
}

void Connection::resume_requests() {
    outbox_.clear(); // rebuilt below from what is still unanswered
    for (const auto& [token, events] : watches_) {
        std::string payload = events->path;
        payload.append(1, '\0').append(token).append(1, '\0');
        outbox_ += wire::encode({XS_WATCH, 0, 0, std::move(payload)}); // its reply (req_id 0) is ignored
    }
    for (const auto& [id, pending] : pending_) {
        const auto type = pending->request.type;
        if (type != XS_UNWATCH && type != XS_WATCH) { // the new daemon holds exactly the watches above
            outbox_ += wire::encode(pending->request);
        }
    }
    for (auto entry = pending_.begin(); entry != pending_.end();) {
        const auto type = entry->second->request.type;
        if (type == XS_UNWATCH || type == XS_WATCH) {
            finish(*entry->second, 0, {});
            entry = pending_.erase(entry);
        } else {
            ++entry;
        }
    }
    send({});
}

asio::awaitable<bool> Connection::reconnect() {
    if (device_.is_open()) { // the kernel keeps the connection; a device that fails does not come back
        broken_ = ECONNRESET;
        fail_all(broken_);
        co_return false;
    }
    transactions_.clear();
    for (auto entry = pending_.begin(); entry != pending_.end();) {
        if (entry->second->request.tx_id != 0) { // transactions end with the connection
            finish(*entry->second, EAGAIN, {});
            entry = pending_.erase(entry);
        } else {
            ++entry;
        }
    }
    const auto give_up = std::chrono::steady_clock::now() + reconnect_limit;
    int last_error = ECONNRESET;
    while (!broken_ && std::chrono::steady_clock::now() < give_up) {
        boost::system::error_code ignored;
        socket_.close(ignored);
        if (!writing_) {
            socket_ = asio::local::stream_protocol::socket(executor_);
            const asio::local::stream_protocol::endpoint endpoint(socket_path_);
            const auto [error] = co_await socket_.async_connect(endpoint, no_throw);
            if (!error && !broken_) {
                resume_requests();
                co_return true;
            }
            last_error = error ? error.value() : last_error;
            socket_.close(ignored);
        }
        retry_.expires_after(std::chrono::milliseconds(50));
        co_await retry_.async_wait(no_throw);
    }
    if (!broken_) {
        broken_ = last_error;
        fail_all(broken_);
    }
    co_return false;
}

} // namespace domus::xenstore
