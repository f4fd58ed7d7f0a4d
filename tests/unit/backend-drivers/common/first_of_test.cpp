// The console daemon's parts run side by side; when one fails, the daemon must hear of it.
#include <stdexcept>
#include <string>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "backend-drivers/common/first_of.hpp"
#include "backend-drivers/common/signal.hpp"

namespace domus::backend {
namespace {

namespace asio = boost::asio;

struct Counted {
    explicit Counted(int& alive) : alive(alive) { ++alive; }
    ~Counted() { --alive; }
    Counted(const Counted&) = delete;
    int& alive;
};

asio::awaitable<void> loop(Signal& signal, int& alive) {
    const Counted here(alive);
    for (;;) {
        co_await signal.wait();
    }
}

asio::awaitable<void> once(Signal& signal, bool fail) {
    co_await signal.wait();
    if (fail) {
        throw std::runtime_error("the store is lost");
    }
}

/// What first_of() ends with when one of three coroutines ends or fails and the others would go on for ever.
std::string outcome(bool fail) {
    asio::io_context io;
    Signal never(io.get_executor()), now(io.get_executor());
    int alive = 0;
    std::string text = "still running";
    asio::co_spawn(io, first_of(loop(never, alive), once(now, fail), loop(never, alive)),
                   [&](std::exception_ptr failure) {
                       try {
                           text = "ended";
                           if (failure) {
                               std::rethrow_exception(failure);
                           }
                       } catch (const std::exception& e) {
                           text = e.what();
                       }
                   });
    io.poll();
    EXPECT_EQ(alive, 2);
    now.notify();
    for (int round = 0; round < 10; ++round) {
        io.restart();
        io.poll();
    }
    EXPECT_EQ(alive, 0) << "the others are ended";
    return text;
}

TEST(FirstOf, TheFirstFailureIsThrown) {
    EXPECT_EQ(outcome(true), "the store is lost");
}

TEST(FirstOf, TheFirstEndIsTheEnd) {
    EXPECT_EQ(outcome(false), "ended");
}

} // namespace
} // namespace domus::backend
