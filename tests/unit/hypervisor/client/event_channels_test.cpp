// Event channels under Asio against a pipe: waking, masking until the next wait, closing under a waiter.
#include <deque>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <gtest/gtest.h>

#include "fake_events.hpp"

namespace domus::client {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

struct EventsTest : testing::Test {
    asio::io_context context{1};
    test::FakeEvents* fake = new test::FakeEvents;
    std::unique_ptr<EventChannels> events =
        std::make_unique<EventChannels>(context.get_executor(), std::unique_ptr<RawEventChannels>(fake));
    int woken = 0;
    bool aborted = false;

    void wait_for_ever(std::uint32_t port) {
        asio::co_spawn(
            context,
            [this, port]() -> asio::awaitable<void> {
                try {
                    for (;;) {
                        co_await events->async_wait(port);
                        ++woken;
                    }
                } catch (const boost::system::system_error& error) {
                    aborted = error.code() == asio::error::operation_aborted;
                }
            },
            asio::detached);
    }
};

TEST_F(EventsTest, EventsThatCameTogetherWakeOnce) {
    const auto port = events->bind_interdomain(3, 5);
    fake->fire(port);
    fake->fire(port);
    wait_for_ever(port);
    context.run_for(50ms);
    EXPECT_EQ(woken, 1);
    fake->fire(port);
    context.run_for(50ms);
    EXPECT_EQ(woken, 2);
}

TEST_F(EventsTest, APortStaysMaskedUntilItIsWaitedForAgain) {
    const auto port = events->bind_interdomain(3, 5);
    fake->fire(port);
    context.run_for(20ms);
    EXPECT_TRUE(fake->masked.contains(port)) << "nobody waited: a storm must not reach the daemon";
    wait_for_ever(port);
    context.run_for(20ms);
    EXPECT_FALSE(fake->masked.contains(port));
}

TEST_F(EventsTest, ClosingEndsTheWait) {
    const auto port = events->bind_interdomain(3, 5);
    wait_for_ever(port);
    context.run_for(20ms);
    events->unbind(port);
    context.run_for(20ms);
    EXPECT_TRUE(aborted);
    EXPECT_EQ(fake->unbound, std::vector<std::uint32_t>{port});
}

TEST_F(EventsTest, DestructionEndsEveryWait) {
    wait_for_ever(events->bind_interdomain(3, 5));
    context.run_for(20ms);
    events.reset();
    context.run_for(20ms);
    EXPECT_TRUE(aborted);
}

TEST_F(EventsTest, AnEventOfAClosedPortIsIgnored) {
    const auto port = events->bind_interdomain(3, 5), other = events->bind_interdomain(3, 6);
    fake->fire(port);
    fake->fire(other);
    events->unbind(port);
    wait_for_ever(other);
    context.run_for(20ms);
    EXPECT_EQ(woken, 1);
}

} // namespace
} // namespace domus::client
