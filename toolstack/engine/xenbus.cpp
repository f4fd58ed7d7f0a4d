// Device states in xenstore. No lock.
#include <utility>

#include "toolstack/engine/xenbus.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <fmt/format.h>

namespace domus::engine {

constexpr std::string_view our_kinds = "domus-";

std::string domain_path(std::uint16_t domid) {
    return fmt::format("/local/domain/{}", domid);
}

std::string backend_path(std::string_view kind, std::uint16_t domid, std::uint32_t devid, std::uint16_t where) {
    return fmt::format("/local/domain/{}/backend/{}/{}/{}", where, kind, domid, devid);
}

std::string frontend_path(std::string_view kind, std::uint16_t domid, std::uint32_t devid) {
    kind.remove_prefix(kind.starts_with(our_kinds) ? our_kinds.size() : 0);
    return fmt::format("/local/domain/{}/device/{}/{}", domid, kind, devid);
}

asio::awaitable<std::vector<std::string>> children_of(xenstore::Client& store, std::string path) {
    try {
        co_return co_await store.directory(path);
    } catch (const boost::system::system_error& e) {
        if (e.code().value() != ENOENT)
            throw;
    }
    co_return std::vector<std::string>{};
}

std::optional<std::uint32_t> to_number(std::string_view text) {
    std::uint64_t value = 0;
    if (text.empty() || text.size() > 10)
        return {};
    for (char c : text) {
        if (c < '0' || c > '9')
            return {};
        value = value * 10 + std::uint64_t(c - '0');
    }
    return value <= 0xffffffffu ? std::optional(std::uint32_t(value)) : std::nullopt;
}

std::string state_text(XenbusState state) {
    return std::to_string(unsigned(state));
}

const char* state_name(XenbusState state) {
    static constexpr const char* names[] = {"absent",  "Initialising", "InitWait",      "Initialised", "Connected",
                                            "Closing", "Closed",       "Reconfiguring", "Reconfigured"};
    return names[unsigned(state)];
}

asio::awaitable<XenbusState> read_state(xenstore::Client& store, std::string path) {
    const auto text = co_await store.try_read(path);
    const auto number = text ? to_number(*text) : std::nullopt;
    co_return number&&* number <= 8 ? XenbusState(*number) : XenbusState::Absent;
}

namespace {

asio::awaitable<void> until_state(xenstore::Client& store, std::string path, std::function<bool(XenbusState)> wanted) {
    auto watch = co_await store.watch(path);
    for (;;) {
        co_await watch->next();
        const XenbusState state = co_await read_state(store, path);
        if (wanted(state))
            co_return;
    }
}

asio::awaitable<void> caught(asio::awaitable<void> work, std::exception_ptr& failure) {
    try {
        co_await std::move(work);
    } catch (...) {
        failure = std::current_exception();
    }
}

} // namespace

// Asio's || waits for the other side when one fails: a lost store would be reported when the time limit is over.
asio::awaitable<bool> within(asio::awaitable<void> work, std::chrono::milliseconds limit) {
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer timer(co_await asio::this_coro::executor, limit);
    std::exception_ptr failure;
    const auto winner = co_await (caught(std::move(work), failure) || timer.async_wait(asio::use_awaitable));
    if (winner.index() == 1)
        co_return false;
    if (failure)
        std::rethrow_exception(failure);
    co_return true;
}

asio::awaitable<bool> wait_state(xenstore::Client& store, std::string path, std::function<bool(XenbusState)> wanted,
                                 std::chrono::milliseconds limit) {
    const bool in_time = co_await within(until_state(store, path, wanted), limit);
    if (in_time)
        co_return true;
    // On a machine so busy that this process slept through the limit, the state came in time all the same.
    const XenbusState state = co_await read_state(store, path);
    co_return wanted(state);
}

asio::awaitable<bool> poll_until(std::function<bool()> ready, std::chrono::milliseconds limit) {
    asio::steady_timer timer(co_await asio::this_coro::executor);
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!ready()) {
        if (std::chrono::steady_clock::now() >= end)
            co_return false;
        timer.expires_after(std::chrono::milliseconds(5));
        co_await timer.async_wait(asio::use_awaitable);
    }
    co_return true;
}

asio::awaitable<void> remove_up(xenstore::Client& store, std::string path, std::string above) {
    co_await store.rm(path);
    for (auto slash = path.rfind('/'); slash != std::string::npos; slash = path.rfind('/')) {
        path.resize(slash);
        if (path.size() <= above.size())
            co_return;
        bool empty = false;
        try {
            empty = (co_await store.directory(path)).empty();
        } catch (const boost::system::system_error&) {
            co_return; // it is gone already
        }
        if (!empty)
            co_return;
        co_await store.rm(path);
    }
}

} // namespace domus::engine
