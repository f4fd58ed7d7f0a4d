// Coroutines side by side until the first of them ends. Header-only. No lock: one io_context. Used by daemons' loops.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <exception>
#include <utility>

namespace domus::backend {

namespace detail {

struct First {
    bool decided = false;
    std::exception_ptr failure;
};

inline boost::asio::awaitable<void> decide(boost::asio::awaitable<void> work, First& first) {
    std::exception_ptr failure;
    try {
        co_await std::move(work);
    } catch (...) {
        failure = std::current_exception();
    }
    if (!std::exchange(first.decided, true)) {
        first.failure = failure;
    }
}

} // namespace detail

/// Ends when the first of `work` ends, and throws what that one threw; the others are cancelled. Asio's own || goes on
/// waiting for the rest when one fails, for ever if the rest are loops.
template <class... Work>
boost::asio::awaitable<void> first_of(Work... work) {
    using namespace boost::asio::experimental::awaitable_operators;
    detail::First first;
    co_await (detail::decide(std::move(work), first) || ...);
    if (first.failure) {
        std::rethrow_exception(first.failure);
    }
}

} // namespace domus::backend
