// One piece of work at a time per guest, also when the work fails.
#include "toolstack/engine/turns.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>
#include <stdexcept>

namespace domus::engine {
namespace {

asio::awaitable<void> work(Turns& turns, std::uint16_t domid, int& inside, int& most, int& done, bool fail) {
    const auto turn = co_await turns.take(domid);
    const auto executor = co_await asio::this_coro::executor;
    most = std::max(most, ++inside);
    for (int i = 0; i < 5; ++i)
        co_await asio::post(executor, asio::use_awaitable);
    --inside;
    ++done;
    if (fail)
        throw std::runtime_error("failed");
}

TEST(Turns, OneAtATimeAndNobodyIsForgotten) {
    asio::io_context io;
    Turns turns;
    int inside = 0, most = 0, done = 0;
    for (int i = 0; i < 20; ++i)
        asio::co_spawn(io, work(turns, 5, inside, most, done, i % 3 == 0), [](std::exception_ptr) {});
    io.run();
    EXPECT_EQ(most, 1);
    EXPECT_EQ(done, 20);
    EXPECT_FALSE(turns.is_busy(5));
}

TEST(Turns, GuestsDoNotWaitForEachOther) {
    asio::io_context io;
    Turns turns;
    int inside = 0, most = 0, done = 0;
    for (std::uint16_t domid = 1; domid <= 3; ++domid)
        asio::co_spawn(io, work(turns, domid, inside, most, done, false), asio::detached);
    io.run();
    EXPECT_EQ(most, 3);
}

} // namespace
} // namespace domus::engine
