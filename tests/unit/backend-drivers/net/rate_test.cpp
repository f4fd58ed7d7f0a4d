// The rate limit over made-up time.
#include <gtest/gtest.h>

#include "backend-drivers/net/rate.hpp"

namespace domus::net {
namespace {

using namespace std::chrono_literals;

TEST(RateLimit, HoldsOverManyIntervals) {
    Clock::time_point now{};
    RateLimit limit(10'000, 10ms, now);
    std::uint64_t sent = 0;
    for (; now < Clock::time_point{} + 1s; now += 100us) {
        while (limit.take(1000, now)) {
            sent += 1000;
        }
    }
    EXPECT_GE(sent, 990'000u);
    EXPECT_LE(sent, 1'010'000u);
}

TEST(RateLimit, SaysWhenItGrows) {
    const Clock::time_point now{};
    RateLimit limit(1000, 50ms, now);
    EXPECT_TRUE(limit.take(1000, now));
    EXPECT_FALSE(limit.take(1, now));
    EXPECT_EQ(limit.next_refill(), now + 50ms);
    EXPECT_FALSE(limit.take(1, now + 49ms));
    EXPECT_TRUE(limit.take(1000, now + 50ms));
}

TEST(RateLimit, TheLargestPacketPassesASmallLimitInTheEnd) {
    Clock::time_point now{};
    RateLimit limit(1000, 1ms, now);
    int waited = 0;
    while (!limit.take(65535, now) && waited < 1000) {
        now = limit.next_refill();
        ++waited;
    }
    EXPECT_EQ(waited, 65);
}

TEST(RateLimit, RestSavesUpNoMoreThanABurst) {
    Clock::time_point now{};
    RateLimit limit(1000, 1ms, now);
    now += 24h;
    EXPECT_TRUE(limit.take(65536, now));
    EXPECT_FALSE(limit.take(1, now));
}

TEST(RateLimit, ExtremesDoNotOverflow) {
    Clock::time_point now{};
    RateLimit limit(UINT32_MAX, 1us, now);
    now += 24h * 365;
    EXPECT_TRUE(limit.take(UINT32_MAX, now));
    EXPECT_FALSE(limit.take(1, now));
}

} // namespace
} // namespace domus::net
