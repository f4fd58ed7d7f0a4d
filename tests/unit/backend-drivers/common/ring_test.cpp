// The back ring against a frontend that plays by Xen's own macros, and against one that does not play.
#include <gtest/gtest.h>

extern "C" {
#include <xen/xen.h>
}
#define xen_mb() __sync_synchronize()
#define xen_rmb() __sync_synchronize()
#define xen_wmb() __sync_synchronize()
#include <cstring>
#include <xen/io/ring.h>

#include "backend-drivers/common/ring.hpp"

namespace domus::backend {
namespace {

struct toy_request {
    std::uint64_t id;
    std::uint32_t value;
};
struct toy_response {
    std::uint64_t id;
    std::int16_t status;
};
using Toy = BackRing<toy_request, toy_response>;
DEFINE_RING_TYPES(toy, struct toy_request, struct toy_response);

struct RingTest : testing::Test {
    alignas(4096) std::uint8_t page[4096] = {};
    toy_sring* shared = reinterpret_cast<toy_sring*>(page);
    toy_front_ring front;
    Toy ring{page, sizeof page};

    RingTest() {
        SHARED_RING_INIT(shared);
        FRONT_RING_INIT(&front, shared, sizeof page);
    }
    bool push(std::uint64_t id) {
        RING_GET_REQUEST(&front, front.req_prod_pvt)->id = id;
        ++front.req_prod_pvt;
        int notify = 0;
        RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&front, notify);
        return notify != 0;
    }
};

TEST_F(RingTest, HasTheSizeThatFrontendsCompute) {
    EXPECT_EQ(ring.size(), RING_SIZE(&front));
    EXPECT_EQ(Toy::entries_in(16 * 4096), __RING_SIZE(shared, 16 * 4096));
}

TEST_F(RingTest, CarriesRequestsAndResponsesRoundAndRound) {
    for (std::uint64_t id = 0; id < 10 * ring.size(); ++id) {
        push(id);
        ASSERT_EQ(ring.waiting(), 1u);
        toy_request request;
        ring.take(request);
        ASSERT_EQ(request.id, id);
        ring.put({id, 7});
        EXPECT_TRUE(ring.publish());
        ASSERT_TRUE(RING_HAS_UNCONSUMED_RESPONSES(&front));
        ASSERT_EQ(RING_GET_RESPONSE(&front, front.rsp_cons)->id, id);
        ++front.rsp_cons;
        int more = 0;
        RING_FINAL_CHECK_FOR_RESPONSES(&front, more);
        ASSERT_EQ(more, 0);
    }
}

TEST_F(RingTest, AFrontendNotifiesOnlyWhenItWasAsked) {
    EXPECT_FALSE(ring.arm());
    EXPECT_TRUE(push(1));
    EXPECT_FALSE(push(2)) << "nobody armed since";
    toy_request request;
    ring.take(request);
    EXPECT_TRUE(ring.arm()) << "the second is there already: sleeping now would lose it";
    ring.take(request);
    EXPECT_FALSE(ring.arm());
    EXPECT_TRUE(push(3));
}

TEST_F(RingTest, ABackendNotifiesOnlyWhenItWasAsked) {
    toy_request request;
    for (std::uint64_t id = 0; id < 3; ++id) {
        push(id);
        ring.take(request);
    }
    front.sring->rsp_event = 3; // wake me at the third
    ring.put({0, 0});
    EXPECT_FALSE(ring.publish());
    ring.put({1, 0});
    ring.put({2, 0});
    EXPECT_TRUE(ring.publish());
}

TEST_F(RingTest, AProducerThatRunsAwayIsCaught) {
    shared->req_prod = ring.size();
    EXPECT_EQ(ring.waiting(), ring.size());
    for (const RING_IDX wild : {ring.size() + 1, 0x80000000u, 0xffffffffu}) {
        shared->req_prod = wild;
        EXPECT_THROW(ring.waiting(), RingError) << wild;
        EXPECT_THROW(ring.arm(), RingError) << wild;
    }
}

TEST_F(RingTest, AProducerMayNotOverwriteWhatIsNotAnswered) {
    for (unsigned i = 0; i < ring.size(); ++i) {
        push(i);
    }
    toy_request request;
    ring.take(request);
    shared->req_prod += 1; // the slot of the request in flight
    EXPECT_THROW(ring.waiting(), RingError);
    ring.put({0, 0});
    EXPECT_EQ(ring.waiting(), ring.size());
}

TEST_F(RingTest, AProducerThatGoesBackIsCaught) {
    push(1);
    toy_request request;
    ring.take(request);
    shared->req_prod = 0;
    EXPECT_THROW(ring.waiting(), RingError);
}

TEST_F(RingTest, WhatIsJudgedIsACopy) {
    push(5);
    toy_request request;
    ring.peek(request);
    RING_GET_REQUEST(&front, 0)->id = 6;
    EXPECT_EQ(request.id, 5u);
    EXPECT_EQ(ring.consumed(), 0u) << "peeking consumes nothing";
}

TEST_F(RingTest, GarbageInTheIndicesOfTheBackendIsIgnored) {
    push(1);
    toy_request request;
    ring.take(request);
    shared->rsp_prod = 0xdead;
    shared->req_event = 0xbeef;
    ring.put({1, 0});
    ring.publish();
    EXPECT_EQ(shared->rsp_prod, 1u);
}

TEST_F(RingTest, IndicesWrap) {
    Toy late{page, sizeof page, 0xfffffffeu, 0xfffffffeu};
    shared->req_prod = 1; // three requests
    EXPECT_EQ(late.waiting(), 3u);
    toy_request request;
    for (int i = 0; i < 3; ++i) {
        late.take(request);
        late.put({0, 0});
    }
    shared->rsp_event = 1;
    EXPECT_TRUE(late.publish());
    EXPECT_EQ(shared->rsp_prod, 1u);
    EXPECT_EQ(Toy::shown_in(page), 1u);
}

} // namespace
} // namespace domus::backend
