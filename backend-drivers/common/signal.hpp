// A wake-up for coroutines of one io_context: wait() returns after the next notify(). Header-only. No lock.
// Owner: whoever changes the condition; the waiter checks it again itself, a signal carries nothing.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace domus::backend {

class Signal {
public:
    explicit Signal(const boost::asio::any_io_executor& executor)
        : timer_(executor, boost::asio::steady_timer::time_point::max()) {}

    /// Wakes every waiter. Nobody waiting: nothing is remembered.
    void notify() { timer_.cancel(); }

    boost::asio::awaitable<void> wait() {
        boost::system::error_code cancelled;
        co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, cancelled));
    }

private:
    boost::asio::steady_timer timer_; // never expires
};

} // namespace domus::backend
