// Persistent grants: what is agreed on, which pages stay mapped, for how long, and what a guest can do with them.
#include "tests/unit/backend-drivers/block/bench.hpp"

namespace domus::block::test {
namespace {

struct PersistentTest : DiskTest {
    PersistentTest() {
        room = std::make_shared<std::size_t>(2000);
        store.write(id.path() + "/persistent-enable", "1");
        medium().takes_parts = true;
    }
    ~PersistentTest() override {
        kill();
        EXPECT_EQ(grants->mapped, 0u);
        EXPECT_EQ(*room, 2000u) << "all that was taken is given back";
    }
    void up(const char* wanted = "1") {
        offer();
        store.write(front + "/feature-persistent", wanted);
        take();
    }
    std::size_t kept() const { return grants->mapped - 1; } ///< but the ring
    std::int16_t read(std::uint64_t sector, std::uint32_t reference) {
        return ask(request(BLKIF_OP_READ, sector, reference, 1));
    }
    std::int16_t write(std::uint64_t sector, std::uint32_t reference) {
        return ask(request(BLKIF_OP_WRITE, sector, reference, 1));
    }
};

TEST_F(PersistentTest, BothSidesHaveToWantIt) {
    up("0");
    EXPECT_EQ(store.read(id.path() + "/feature-persistent"), "1");
    EXPECT_EQ(write(0, data), BLKIF_RSP_OKAY);
    EXPECT_EQ(kept(), 0u);
}

TEST_F(PersistentTest, TheToolstackDecidesForADisk) {
    store.write(id.path() + "/persistent-enable", "0");
    up();
    EXPECT_EQ(store.read(id.path() + "/feature-persistent"), "0");
    EXPECT_EQ(write(0, data), BLKIF_RSP_OKAY);
    EXPECT_EQ(kept(), 0u) << "a frontend that was not offered it takes a mapped page for a fault";
}

TEST_F(PersistentTest, WithoutTheToolstacksWordItIsNotOffered) {
    store.remove(id.path() + "/persistent-enable");
    up();
    EXPECT_EQ(store.read(id.path() + "/feature-persistent"), "0");
    EXPECT_EQ(write(0, data), BLKIF_RSP_OKAY);
    EXPECT_EQ(kept(), 0u);
}

TEST_F(PersistentTest, ADaemonThatMapsNothingDoesNotOfferIt) { // --persistent-grants=0
    const auto given = std::exchange(room, nullptr);
    up();
    EXPECT_EQ(store.read(id.path() + "/feature-persistent"), "0");
    room = given;
}

TEST_F(PersistentTest, PagesStayMappedAndNothingIsCopied) {
    up();
    fill(data, 0x5a);
    EXPECT_EQ(write(8, data), BLKIF_RSP_OKAY);
    EXPECT_EQ(medium().bytes[4096], 0x5a);
    const auto maps = grants->maps;
    EXPECT_EQ(kept(), 1u);
    for (int i = 0; i < 10; ++i) {
        fill(data, static_cast<std::uint8_t>(i));
        EXPECT_EQ(write(8, data), BLKIF_RSP_OKAY);
        EXPECT_EQ(medium().bytes[8191], i);
        fill(data, 0xff);
        EXPECT_EQ(read(8, data), BLKIF_RSP_OKAY);
        EXPECT_EQ(grants->page(data)[4095], i);
    }
    EXPECT_EQ(grants->maps, maps);
    EXPECT_EQ(grants->copies, 0u);
}

TEST_F(PersistentTest, PartsOfPagesGoWhereTheyBelong) {
    up();
    for (const int refused : {0, EFAULT}) {
        medium().error_once = refused;
        fill(data, 1);
        fill(data + 1, 2);
        auto two = request(BLKIF_OP_WRITE, 16, data, 1);
        two.seg[0] = {data, 6, 7};
        two.seg[1] = {data + 1, 0, 1};
        two.nr_segments = 2;
        EXPECT_EQ(ask(two), BLKIF_RSP_OKAY);
        EXPECT_EQ(medium().bytes[17 * 512], 1);
        EXPECT_EQ(medium().bytes[18 * 512], 2);
        EXPECT_EQ(medium().bytes[20 * 512], 0);
        fill(data, 0xee);
        fill(data + 1, 0xee);
        two.operation = BLKIF_OP_READ;
        EXPECT_EQ(ask(two), BLKIF_RSP_OKAY);
        EXPECT_EQ(grants->page(data)[6 * 512 - 1], 0xee);
        EXPECT_EQ(grants->page(data)[6 * 512], 1);
        EXPECT_EQ(grants->page(data + 1)[1023], 2);
        EXPECT_EQ(grants->page(data + 1)[1024], 0xee);
        std::fill(medium().bytes.begin(), medium().bytes.end(), std::uint8_t{0});
    }
    EXPECT_EQ(grants->copies, 0u) << "copied by this process, not by the hypervisor";
    EXPECT_EQ(kept(), 2u);
}

// The kernel or a file system takes no such pages, maybe only some of them: nothing is lost, all that was under way is
// done again by copies, and what comes later at once.
TEST_F(PersistentTest, WhatTheMediumRefusesToDoInPlaceIsCopied) {
    for (const int refused : {EFAULT, EINVAL}) {
        up();
        medium().hold = true;
        for (std::uint32_t i = 0; i < 3; ++i) {
            fill(data + i, static_cast<std::uint8_t>(refused + i));
            push(request(BLKIF_OP_WRITE, i * 8, data + i, i));
        }
        notify();
        ASSERT_EQ(medium().held.size(), 3u);
        for (int i = 0; i < 2; ++i) {
            medium().error_once = refused;
            medium().release(0);
        }
        ASSERT_EQ(medium().held.size(), 3u) << "two wait to be done again";
        EXPECT_FALSE(medium().held[1]->data == grants->page(data) || medium().held[2]->data == grants->page(data + 1));
        medium().hold = false;
        let_end();
        settle();
        for (std::uint32_t i = 0; i < 3; ++i) {
            EXPECT_EQ(response(i).status, BLKIF_RSP_OKAY) << i;
            EXPECT_EQ(medium().bytes[i * 4096 + 4095], static_cast<std::uint8_t>(refused + i)) << i;
        }
        medium().error_once = refused;
        EXPECT_EQ(write(0, data), BLKIF_RSP_ERROR) << "of a copy it is the medium's own error";
        EXPECT_EQ(ask(request(BLKIF_OP_WRITE_BARRIER, 8, data, 9)), BLKIF_RSP_OKAY);
        EXPECT_EQ(read(8, data + 5), BLKIF_RSP_OKAY);
        EXPECT_EQ(grants->page(data + 5)[17], static_cast<std::uint8_t>(refused));
        EXPECT_EQ(grants->copies, 0u) << "by this process, not by the hypervisor";
        frontend(State::Closed);
        ASSERT_TRUE(becomes(State::Closed));
        std::memset(grants->page(ring_page), 0, page_size);
        frontend(State::Initialising);
        ASSERT_TRUE(becomes(State::InitWait));
        kill();
    }
}

// In each step of a barrier's three.
TEST_F(PersistentTest, ABarriersWriteIsCopiedToo) {
    up();
    fill(data, 7);
    medium().hold = true;
    push(request(BLKIF_OP_WRITE_BARRIER, 0, data, 1));
    notify();
    ASSERT_EQ(medium().held.size(), 1u);
    medium().release(0); // the flush before
    settle();
    medium().error_once = EFAULT;
    medium().release(0);
    ASSERT_EQ(medium().held.size(), 1u);
    EXPECT_EQ(ring().rsp_prod, 0u);
    medium().release(0);
    settle();
    ASSERT_EQ(medium().held.size(), 1u) << "the flush behind it";
    medium().release(0);
    settle();
    EXPECT_EQ(response(0).status, BLKIF_RSP_OKAY);
    EXPECT_EQ(medium().bytes[4095], 7);
    EXPECT_EQ(medium().flushes, 2u);
}

TEST_F(PersistentTest, AMediumThatWantsItsDataTogetherGetsItSo) { // an NBD server
    medium().takes_parts = false;
    up();
    auto* list = reinterpret_cast<blkif_request_segment*>(grants->page(list_page));
    for (std::uint32_t i = 0; i < 20; ++i) {
        list[i] = {data + 19 - i, 0, 7};
        fill(data + i, static_cast<std::uint8_t>(i + 1));
    }
    EXPECT_EQ(ask(indirect(BLKIF_OP_WRITE, 20, 0, 1)), BLKIF_RSP_OKAY);
    EXPECT_EQ(kept(), 21u) << "and the list's";
    const auto copies = grants->copies;
    std::memset(grants->page(data), 0, 20 * page_size);
    EXPECT_EQ(ask(indirect(BLKIF_OP_READ, 20, 0, 2)), BLKIF_RSP_OKAY);
    for (std::uint32_t i = 0; i < 20; ++i) {
        EXPECT_EQ(grants->page(data + i)[77], i + 1);
    }
    EXPECT_EQ(grants->copies, copies);
}

TEST_F(PersistentTest, ABarrierWorksOnThemToo) {
    up();
    fill(data, 9);
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE_BARRIER, 0, data, 1)), BLKIF_RSP_OKAY);
    EXPECT_EQ(medium().bytes[0], 9);
    EXPECT_EQ(medium().flushes, 2u);
    EXPECT_EQ(grants->copies, 0u);
}

// A guest that breaks its word meets its own old page, nobody else's.
TEST_F(PersistentTest, AReferenceGrantedAnewMeansTheOldPage) {
    up();
    fill(data, 0x11);
    EXPECT_EQ(write(0, data), BLKIF_RSP_OKAY);
    grants->revoke(data);
    fill(data, 0x22);
    EXPECT_EQ(write(0, data), BLKIF_RSP_OKAY) << "mapped still";
    EXPECT_EQ(medium().bytes[0], 0x22);
    EXPECT_EQ(mine(), to_text(State::Connected));
}

TEST_F(PersistentTest, WhatCannotBeMappedForWritingIsCopied) {
    up();
    grants->grant(50, false);
    fill(50, 7);
    EXPECT_EQ(write(0, 50), BLKIF_RSP_OKAY) << "which may be read";
    EXPECT_EQ(medium().bytes[0], 7);
    EXPECT_EQ(read(0, 50), BLKIF_RSP_ERROR) << "and not be written";
    EXPECT_EQ(kept(), 0u);
    EXPECT_EQ(write(0, data), BLKIF_RSP_OKAY);
    EXPECT_EQ(kept(), 1u);
    auto mixed = request(BLKIF_OP_WRITE, 8, data, 1);
    mixed.seg[1] = {50, 0, 7};
    mixed.nr_segments = 2;
    fill(data, 8);
    EXPECT_EQ(ask(mixed), BLKIF_RSP_OKAY) << "one page mapped, one copied";
    EXPECT_EQ(medium().bytes[4096], 8);
    EXPECT_EQ(medium().bytes[8192], 7);
}

TEST_F(PersistentTest, ABadReferenceInABatchCostsOnlyItself) {
    up();
    push(request(BLKIF_OP_WRITE, 0, data, 1));
    push(request(BLKIF_OP_WRITE, 8, 3999, 2));
    push(request(BLKIF_OP_WRITE, 16, data + 2, 3));
    notify();
    EXPECT_EQ(response(0).status, BLKIF_RSP_OKAY);
    EXPECT_EQ(response(1).status, BLKIF_RSP_ERROR);
    EXPECT_EQ(response(2).status, BLKIF_RSP_OKAY);
    EXPECT_EQ(kept(), 0u) << "of a batch all or none";
}

TEST_F(PersistentTest, WhoGrantsNothingIsMappedNoMore) {
    up();
    for (std::uint32_t i = 0; i < 3 * most_failed_maps; ++i) {
        EXPECT_EQ(read(0, 0xf0000000 + i), BLKIF_RSP_ERROR);
    }
    const auto copies = grants->copies;
    EXPECT_EQ(write(0, data), BLKIF_RSP_OKAY);
    EXPECT_EQ(kept(), 0u);
    EXPECT_EQ(grants->copies, copies + 1);
}

TEST_F(PersistentTest, TheOneUsedLongestAgoGoesFirst) {
    *room = 2000;
    PersistentGrants few(grants, 3, 4, room, backend::Stats::Value());
    const auto use = [&](std::uint32_t reference) {
        if (!few.hold(reference)) {
            std::vector<std::uint32_t> missing{reference, reference};
            few.keep(missing);
        }
        return bool(few.hold(reference));
    };
    for (std::uint32_t i = 0; i < 4; ++i) {
        EXPECT_TRUE(use(data + i));
    }
    EXPECT_TRUE(use(data));
    const auto held = few.hold(data + 1);
    EXPECT_TRUE(use(data + 4));
    EXPECT_EQ(few.mapped(), 4u);
    EXPECT_TRUE(few.hold(data));
    EXPECT_TRUE(few.hold(data + 1)) << "held";
    EXPECT_FALSE(few.hold(data + 2));
    EXPECT_TRUE(few.hold(data + 3));
    const auto second = few.hold(data), third = few.hold(data + 3), fourth = few.hold(data + 4);
    EXPECT_FALSE(use(data + 5)) << "all are held";
    EXPECT_EQ(few.mapped(), 4u);
    EXPECT_FALSE(few.given_up());
}

// So many references as it likes: what is mapped stays bounded, and soon nothing is mapped any more.
TEST_F(PersistentTest, WhoNeverUsesAPageTwiceIsCopied) {
    PersistentGrants few(grants, 3, 16, room, backend::Stats::Value());
    unsigned held = 0;
    for (std::uint32_t i = 1; i < 1000; ++i) {
        std::vector<std::uint32_t> missing{i};
        few.keep(missing);
        held += bool(few.hold(i));
        ASSERT_LE(few.mapped(), 16u);
    }
    EXPECT_TRUE(few.given_up());
    EXPECT_LE(held, 64u);
    EXPECT_EQ(few.mapped(), 0u);
}

TEST_F(PersistentTest, ARingHasABoundAndTheProcessToo) {
    *room = 10;
    up();
    for (std::uint32_t i = 0; i < 20; ++i) {
        fill(data + i, static_cast<std::uint8_t>(i));
        EXPECT_EQ(write(i * 8, data + i), BLKIF_RSP_OKAY);
        EXPECT_EQ(medium().bytes[i * 4096], i);
    }
    EXPECT_EQ(kept(), 10u) << "others are copied";
    *room = 1990;
}

TEST_F(PersistentTest, PagesUnderWayStayMappedUntilTheMediumHasEnded) {
    up();
    medium().hold = true;
    push(request(BLKIF_OP_READ, 0, data, 1));
    notify();
    ASSERT_EQ(medium().held.size(), 1u);
    frontend(State::Closed);
    settle();
    EXPECT_EQ(grants->mapped, 1u) << "its page";
    EXPECT_EQ(mine(), to_text(State::Connected));
    medium().release(0);
    EXPECT_TRUE(becomes(State::Closed));
    EXPECT_EQ(grants->mapped, 0u);
}

TEST_F(PersistentTest, AFrontendComesBackAHundredTimes) {
    up();
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(write(0, data), BLKIF_RSP_OKAY);
        EXPECT_EQ(kept(), 1u);
        frontend(State::Closing);
        frontend(State::Closed);
        ASSERT_TRUE(becomes(State::Closed)) << i;
        EXPECT_EQ(grants->mapped, 0u);
        std::memset(grants->page(ring_page), 0, page_size);
        frontend(State::Initialising);
        ASSERT_TRUE(becomes(State::InitWait)) << i;
        take();
    }
}

TEST_F(PersistentTest, ANewProcessKeepsToWhatWasOffered) {
    up();
    EXPECT_EQ(write(0, data), BLKIF_RSP_OKAY);
    kill();
    EXPECT_EQ(grants->mapped, 0u) << "the kernel unmaps what a killed process had";
    start();
    settle();
    EXPECT_EQ(write(0, data), BLKIF_RSP_OKAY);
    EXPECT_EQ(kept(), 1u);
    kill();
    store.write(id.path() + "/feature-persistent", "0"); // as if that process had not offered it
    start();
    settle();
    EXPECT_EQ(write(0, data), BLKIF_RSP_OKAY);
    EXPECT_EQ(kept(), 0u);
}

TEST_F(PersistentTest, ErrorsOfTheMediumReachTheGuest) {
    up();
    medium().error = EIO;
    EXPECT_EQ(write(0, data), BLKIF_RSP_ERROR);
    EXPECT_EQ(read(0, data), BLKIF_RSP_ERROR);
    medium().error = 0;
    EXPECT_EQ(read(0, data), BLKIF_RSP_OKAY);
}

} // namespace
} // namespace domus::block::test
