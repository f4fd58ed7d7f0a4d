// The frontend's ring against the backend's, in one page: what one puts the other takes, and who has to be notified.
#include "backend-drivers/common/ring.hpp"
#include "frontend-drivers/guestkit/drivers/ring.hpp"

#include <gtest/gtest.h>

namespace domus::guest {
namespace {

struct Request {
    u32 value;
    u32 padding[3];
};
struct Response {
    u32 value;
};

struct RingPair : testing::Test {
    alignas(page_size) u8 page[page_size] = {};
    FrontRing<Request, Response> front{page, page_size};
    backend::BackRing<Request, Response> back{page, page_size};

    bool send(u32 value) {
        front.put({value, {}});
        return front.push();
    }
    // The backend answers all that waits; true: it notified.
    bool answer() {
        Request request{};
        while (back.waiting() != 0) {
            back.take(request);
            back.put({request.value + 1});
        }
        return back.publish();
    }
};

TEST_F(RingPair, CarriesRequestsAndResponsesManyTimesAround) {
    ASSERT_EQ(front.size(), back.size());
    u32 sent = 0, got = 0;
    for (u32 round = 0; round < 1000; ++round) {
        for (u32 i = 0; i <= round % front.size() && !front.full(); ++i)
            send(sent++);
        answer();
        while (const auto response = front.take())
            ASSERT_EQ(response->value, ++got);
        ASSERT_FALSE(front.broken());
    }
    EXPECT_EQ(got, sent);
}

TEST_F(RingPair, NotifiesOnlyWhoAsked) {
    EXPECT_TRUE(send(0)) << "a new ring wants its first request";
    EXPECT_FALSE(send(1)) << "nobody asked again";
    EXPECT_TRUE(answer());
    EXPECT_TRUE(front.arm()) << "there are two";
    while (front.take())
        ;
    EXPECT_FALSE(front.arm());
    EXPECT_FALSE(back.arm());
    EXPECT_TRUE(send(2));
    EXPECT_TRUE(answer());
}

TEST_F(RingPair, ABackendThatRunsAwayBreaksIt) {
    send(0);
    reinterpret_cast<u32*>(page)[2] = 2; // rsp_prod: two answers to one request
    EXPECT_FALSE(front.take());
    EXPECT_TRUE(front.broken());
    reinterpret_cast<u32*>(page)[2] = 1;
    EXPECT_FALSE(front.take()) << "once broken, always";
}

} // namespace
} // namespace domus::guest
