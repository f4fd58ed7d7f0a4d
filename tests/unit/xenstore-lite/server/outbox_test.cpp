// The queue of one client: order, cutting, and which repetitions may be dropped.
#include "xenstore-lite/server/outbox.hpp"

#include <gtest/gtest.h>

namespace domus::xenstore::server {

namespace {
const wire::Message event{XS_WATCH_EVENT, 0, 0, std::string("/a\0t\0", 5)};
const wire::Message reply{XS_READ, 1, 0, "value"};
} // namespace

TEST(Outbox, KeepsTheOrderHoweverItIsCut) {
    for (std::size_t piece = 1; piece < 50; ++piece) {
        Outbox outbox;
        const std::string all = outbox.append(reply) + outbox.append(event) + outbox.append(reply);
        EXPECT_EQ(outbox.size(), all.size());
        EXPECT_EQ(outbox.peek_all(), all);
        std::string taken;
        while (!outbox.empty()) {
            taken += outbox.take(piece);
            EXPECT_EQ(taken + outbox.peek_all(), all);
        }
        EXPECT_EQ(taken, all);
    }
}

TEST(Outbox, AnEqualEventWaitsOnce) {
    Outbox outbox;
    EXPECT_FALSE(outbox.append(event).empty());
    EXPECT_TRUE(outbox.append(event).empty());
    EXPECT_FALSE(outbox.append(reply).empty());
    EXPECT_FALSE(outbox.append(reply).empty()); // replies are never dropped
}

TEST(Outbox, AnEventThatIsPartlySentIsSentAgain) {
    Outbox outbox;
    outbox.append(event);
    outbox.take(1);
    EXPECT_FALSE(outbox.append(event).empty()); // the client may have acted on the first already
    EXPECT_TRUE(outbox.append(event).empty());
}

} // namespace domus::xenstore::server
