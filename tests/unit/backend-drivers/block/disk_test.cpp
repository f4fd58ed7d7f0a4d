// The disk as a device: what it offers, data both ways, order of answers, hostile frontends, a killed daemon.
#include "tests/unit/backend-drivers/block/bench.hpp"

namespace domus::block::test {
namespace {

TEST_F(DiskTest, OffersWhatItCan) {
    offer();
    EXPECT_EQ(store.read(id.path() + "/feature-flush-cache"), "1");
    EXPECT_EQ(store.read(id.path() + "/feature-barrier"), "1");
    EXPECT_EQ(store.read(id.path() + "/feature-discard"), "1");
    EXPECT_EQ(store.read(id.path() + "/feature-domus-ordered"), "1");
    EXPECT_EQ(store.read(id.path() + "/feature-max-indirect-segments"), "64");
    EXPECT_EQ(store.read(id.path() + "/max-ring-page-order"), "2");
    EXPECT_EQ(medium().spec.path, "/image");
    take();
    EXPECT_EQ(store.read(id.path() + "/sectors"), "2048");
    EXPECT_EQ(store.read(id.path() + "/sector-size"), "512");
    EXPECT_EQ(store.read(id.path() + "/physical-sector-size"), "4096");
    EXPECT_EQ(store.read(id.path() + "/info"), "0");
}

TEST_F(DiskTest, DataGoesBothWays) {
    connect();
    fill(data, 0x5a);
    auto write = request(BLKIF_OP_WRITE, 9, data, 77);
    write.seg[0] = {data, 3, 4};
    write.seg[1] = {data, 0, 7};
    write.nr_segments = 2;
    EXPECT_EQ(ask(write), BLKIF_RSP_OKAY);
    EXPECT_EQ(response(0).id, 77u);
    EXPECT_EQ(medium().bytes[9 * 512], 0x5a);
    EXPECT_EQ(medium().bytes[19 * 512 - 1], 0x5a);
    EXPECT_EQ(medium().bytes[19 * 512], 0);
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 12, data + 1, 78)), BLKIF_RSP_OKAY);
    EXPECT_EQ(grants->page(data + 1)[0], 0x5a);
    EXPECT_EQ(grants->page(data + 1)[7 * 512], 0);
    EXPECT_EQ(ask(request(BLKIF_OP_FLUSH_DISKCACHE, 0, 0, 79)), BLKIF_RSP_OKAY);
    EXPECT_EQ(medium().flushes, 1u);
}

TEST_F(DiskTest, AMediumInMemoryIsCopiedFromAndToItself) {
    connect();
    medium().in_place = true;
    medium().error = EIO; // of start(), which is not called
    fill(data, 0x5a);
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE, 9, data, 1)), BLKIF_RSP_OKAY);
    EXPECT_EQ(medium().bytes[9 * 512], 0x5a);
    EXPECT_EQ(medium().bytes[17 * 512], 0);
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 12, data + 1, 2)), BLKIF_RSP_OKAY);
    EXPECT_EQ(grants->page(data + 1)[0], 0x5a);
    EXPECT_EQ(grants->page(data + 1)[5 * 512], 0);
    grants->revoke(data + 2);
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 12, data + 2, 3)), BLKIF_RSP_ERROR);
    EXPECT_EQ(ask(request(BLKIF_OP_FLUSH_DISKCACHE, 0, 0, 4)), BLKIF_RSP_ERROR) << "start() does all else";
}

TEST_F(DiskTest, AMediumInMemoryThatGoesAwayIsAnError) {
    connect();
    medium().in_place = true;
    grants->gone = std::span(medium().bytes).subspan(8 * page_size);
    fill(data, 0x5a);
    medium().error = EIO;
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE, 64, data, 1)), BLKIF_RSP_ERROR);
    medium().error = 0;
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE, 64, data, 2)), BLKIF_RSP_OKAY) << "done in the other way";
    EXPECT_EQ(medium().bytes[8 * page_size], 0x5a);
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 64, data, 3)), BLKIF_RSP_ERROR);
    push(request(BLKIF_OP_READ, 64, data + 1, 4));
    push(request(BLKIF_OP_READ, 0, data + 2, 5));
    notify();
    EXPECT_EQ(response(3).status, BLKIF_RSP_ERROR);
    EXPECT_EQ(response(4).status, BLKIF_RSP_OKAY) << "of the same batch";
}

TEST_F(DiskTest, IndirectRequestsOfManyPages) {
    connect();
    auto* list = reinterpret_cast<blkif_request_segment*>(grants->page(list_page));
    for (std::uint32_t i = 0; i < 64; ++i) {
        list[i] = {data + i, 0, 7};
        fill(data + i, static_cast<std::uint8_t>(i + 1));
    }
    EXPECT_EQ(ask(indirect(BLKIF_OP_WRITE, 64, 8, 1)), BLKIF_RSP_OKAY);
    EXPECT_EQ(response(0).operation, BLKIF_OP_WRITE) << "Linux disables a disk that answers otherwise";
    EXPECT_EQ(medium().bytes[4096], 1);
    EXPECT_EQ(medium().bytes[65 * 4096 - 1], 64);
    std::memset(grants->page(data), 0, 64 * page_size);
    EXPECT_EQ(ask(indirect(BLKIF_OP_READ, 64, 8, 2)), BLKIF_RSP_OKAY);
    EXPECT_EQ(grants->page(data + 63)[4095], 64);
}

TEST_F(DiskTest, GrowsWhileItIsUsed) {
    connect();
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE, 2048, data, 1)), BLKIF_RSP_ERROR);
    medium().bytes.resize(2 << 20);
    store.write(id.path() + "/resize", "1");
    EXPECT_TRUE(until([&] { return !store.read(id.path() + "/resize"); }));
    EXPECT_EQ(store.read(id.path() + "/sectors"), "4096");
    EXPECT_EQ(store.read(id.path() + "/state"), "4");
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE, 2048, data, 2)), BLKIF_RSP_OKAY);
    medium().error = EIO;
    store.write(id.path() + "/resize", "1");
    EXPECT_TRUE(until([&] { return !store.read(id.path() + "/resize"); }));
    EXPECT_EQ(store.read(id.path() + "/sectors"), "4096");
    EXPECT_EQ(store.read(id.path() + "/resize-error"), "cannot be measured");
}

TEST_F(DiskTest, ErrorsOfTheMediumReachTheGuest) {
    connect();
    medium().error = EIO;
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE, 0, data, 1)), BLKIF_RSP_ERROR);
    EXPECT_EQ(ask(request(BLKIF_OP_FLUSH_DISKCACHE, 0, 0, 2)), BLKIF_RSP_ERROR);
    fill(data, 0x11);
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 0, data, 3)), BLKIF_RSP_ERROR);
    EXPECT_EQ(grants->page(data)[0], 0x11) << "nothing was read";
    medium().error = EOPNOTSUPP;
    blkif_request_discard_t discard{};
    discard.operation = BLKIF_OP_DISCARD;
    discard.nr_sectors = 8;
    blkif_request_t slot{};
    std::memcpy(&slot, &discard, sizeof discard);
    EXPECT_EQ(ask(slot), BLKIF_RSP_EOPNOTSUPP);
    medium().error = 0;
    EXPECT_EQ(ask(slot), BLKIF_RSP_OKAY);
}

TEST_F(DiskTest, AnswersAreInTheRingsOrder) {
    connect();
    medium().hold = true;
    for (std::uint64_t i = 0; i < 3; ++i) {
        push(request(BLKIF_OP_WRITE, i * 8, data, i));
    }
    notify();
    ASSERT_EQ(medium().held.size(), 3u);
    medium().release(2);
    medium().release(1);
    settle();
    EXPECT_EQ(ring().rsp_prod, 0u);
    medium().release(0);
    settle();
    EXPECT_EQ(ring().rsp_prod, 3u);
    for (unsigned i = 0; i < 3; ++i) {
        EXPECT_EQ(response(i).id, i);
    }
}

// What came before is done and flushed, then the write, then it is flushed; what came later waits for all of it.
TEST_F(DiskTest, ABarrierStandsBetweenWrites) {
    connect();
    medium().hold = true;
    push(request(BLKIF_OP_WRITE, 0, data, 1));
    push(request(BLKIF_OP_WRITE, 8, data, 2));
    push(request(BLKIF_OP_WRITE_BARRIER, 16, data, 3));
    push(request(BLKIF_OP_WRITE, 24, data, 4));
    notify();
    const auto under_way = [&] { return std::pair(medium().held.at(0)->kind, medium().held.at(0)->offset / 512); };
    ASSERT_EQ(medium().held.size(), 2u);
    medium().release(1);
    settle();
    ASSERT_EQ(medium().held.size(), 1u) << "the first write is still under way";
    const std::pair<Kind, std::uint64_t> steps[] = {{Kind::Flush, 16}, {Kind::Write, 16}, {Kind::Flush, 16}};
    for (const auto& step : steps) {
        medium().release(0);
        settle();
        ASSERT_EQ(medium().held.size(), 1u);
        EXPECT_EQ(under_way(), step);
        EXPECT_EQ(ring().rsp_prod, 2u);
    }
    medium().release(0);
    settle();
    EXPECT_EQ(ring().rsp_prod, 3u);
    EXPECT_EQ(response(2).operation, BLKIF_OP_WRITE_BARRIER);
    ASSERT_EQ(medium().held.size(), 1u);
    EXPECT_EQ(under_way(), std::pair(Kind::Write, std::uint64_t{24}));
}

TEST_F(DiskTest, BarriersOfEverySort) {
    connect();
    fill(data, 5);
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE_BARRIER, 0, data, 1)), BLKIF_RSP_OKAY);
    EXPECT_EQ(medium().bytes[0], 5);
    EXPECT_EQ(medium().flushes, 2u);
    auto empty = request(BLKIF_OP_WRITE_BARRIER, 0, 0, 2);
    empty.nr_segments = 0;
    EXPECT_EQ(ask(empty), BLKIF_RSP_OKAY);
    EXPECT_EQ(medium().flushes, 3u);
    medium().in_place = true;
    fill(data, 6);
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE_BARRIER, 0, data, 3)), BLKIF_RSP_OKAY);
    EXPECT_EQ(medium().bytes[0], 6);
    EXPECT_EQ(medium().flushes, 5u);
    medium().error = EIO;
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE_BARRIER, 0, data, 4)), BLKIF_RSP_ERROR);
    EXPECT_EQ(ask(empty), BLKIF_RSP_ERROR);
    medium().error = 0;
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE, 0, data, 5)), BLKIF_RSP_OKAY) << "the ring goes on";
}

// Its writes must not land in the frontend's next life: what is not begun when the frontend goes never begins.
TEST_F(DiskTest, ABarrierOfAFrontendThatGoesIsNotBegun) {
    connect();
    medium().hold = true;
    push(request(BLKIF_OP_WRITE, 0, data, 1));
    push(request(BLKIF_OP_WRITE_BARRIER, 16, data, 2));
    notify();
    ASSERT_EQ(medium().held.size(), 1u);
    frontend(State::Closed);
    settle();
    medium().release(0);
    settle();
    EXPECT_TRUE(medium().held.empty());
    EXPECT_TRUE(becomes(State::Closed));
}

TEST_F(DiskTest, FourQueuesOfFourPages) {
    offer();
    store.write(front + "/multi-queue-num-queues", "4");
    store.write(front + "/ring-page-order", "2");
    for (unsigned q = 0; q < 4; ++q) {
        for (unsigned i = 0; i < 4; ++i) {
            store.write(front + "/queue-" + std::to_string(q) + "/ring-ref" + std::to_string(i),
                        std::to_string(100 + q * 4 + i));
        }
        store.write(front + "/queue-" + std::to_string(q) + "/event-channel", "5");
    }
    take();
    EXPECT_EQ(grants->mapped, 16u);
    for (int i = 0; i < 20; ++i) {
        push(request(BLKIF_OP_FLUSH_DISKCACHE, 0, 0, 1), 112);
    }
    notify();
    EXPECT_EQ(ring(112).rsp_prod, 20u);
    EXPECT_EQ(medium().flushes, 20u);
}

TEST_F(DiskTest, AReadOnlyDiskIsNotWritten) {
    medium().medium.read_only = true;
    connect("r");
    EXPECT_TRUE(medium().spec.read_only);
    EXPECT_EQ(store.read(id.path() + "/info"), "4");
    fill(data, 1);
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE, 0, data, 1)), BLKIF_RSP_ERROR);
    EXPECT_EQ(medium().bytes[0], 0);
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 0, data, 1)), BLKIF_RSP_OKAY);
}

TEST_F(DiskTest, BadRequestsCostOnlyThemselves) {
    connect();
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 2048, data, 1)), BLKIF_RSP_ERROR) << "past the end";
    EXPECT_EQ(ask(request(BLKIF_OP_READ, UINT64_MAX - 3, data, 1)), BLKIF_RSP_ERROR);
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 0, 3999, 1)), BLKIF_RSP_ERROR) << "a grant of nobody";
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE, 0, 3999, 1)), BLKIF_RSP_ERROR);
    grants->grant(50, false);
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 0, 50, 1)), BLKIF_RSP_ERROR) << "granted for reading only";
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE_BARRIER, 2048, data, 1)), BLKIF_RSP_ERROR);
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE_BARRIER, 0, 3999, 1)), BLKIF_RSP_ERROR);
    EXPECT_EQ(ask(request(BLKIF_OP_RESERVED_1, 0, data, 1)), BLKIF_RSP_EOPNOTSUPP);
    EXPECT_EQ(ask(indirect(BLKIF_OP_WRITE, 65, 0, 1)), BLKIF_RSP_ERROR);
    std::memset(grants->page(list_page), 0xff, page_size);
    EXPECT_EQ(ask(indirect(BLKIF_OP_WRITE, 64, 0, 1)), BLKIF_RSP_ERROR);
    grants->revoke(list_page);
    EXPECT_EQ(ask(indirect(BLKIF_OP_READ, 1, 0, 1)), BLKIF_RSP_ERROR) << "its page of segments is not granted";
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 0, data, 1)), BLKIF_RSP_OKAY);
    EXPECT_EQ(mine(), to_text(State::Connected));
}

struct HostileDisk : DiskTest {
    void closes_with(const std::string& reason) {
        ASSERT_TRUE(becomes(State::Closing)) << error();
        EXPECT_THAT(error(), testing::HasSubstr(reason));
        EXPECT_EQ(grants->mapped, 0u);
    }
};

TEST_F(HostileDisk, AProducerThatRunsAwayClosesTheDevice) {
    connect();
    ring().req_prod = 33;
    notify();
    closes_with("ran away");
}

TEST_F(HostileDisk, NonsenseInTheStoreIsRefused) {
    const std::pair<const char*, const char*> nodes[] = {
        {"multi-queue-num-queues", "5"},
        {"multi-queue-num-queues", "0"},
        {"ring-page-order", "3"},
        {"ring-page-order", "0"},
        {"ring-ref", "x"},
        {"event-channel", "-1"},
        {"protocol", "x86_32-abi"},
    };
    offer();
    for (const auto& [name, value] : nodes) {
        ASSERT_TRUE(becomes(State::InitWait)) << name;
        store.remove(front + "/multi-queue-num-queues");
        store.remove(front + "/ring-page-order");
        write_frontend();
        store.write(front + "/" + name, value);
        frontend(State::Initialised);
        ASSERT_TRUE(becomes(State::Closing)) << name;
        EXPECT_EQ(grants->mapped, 0u);
        frontend(State::Closed);
        ASSERT_TRUE(becomes(State::Closed));
        frontend(State::Initialising);
    }
}

TEST_F(DiskTest, AFrontendComesBackAHundredTimes) {
    connect();
    for (int i = 0; i < 100; ++i) {
        frontend(State::Closing);
        frontend(State::Closed);
        ASSERT_TRUE(becomes(State::Closed)) << i;
        EXPECT_EQ(grants->mapped, 0u);
        std::memset(grants->page(ring_page), 0, page_size);
        frontend(State::Initialising);
        ASSERT_TRUE(becomes(State::InitWait)) << i;
        frontend(State::Initialised);
        ASSERT_TRUE(becomes(State::Connected)) << i;
        frontend(State::Connected);
    }
    settle();
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 0, data, 1)), BLKIF_RSP_OKAY);
}

TEST_F(DiskTest, LateWritesEndBeforeTheFrontendsNextLife) {
    connect();
    medium().hold = true;
    push(request(BLKIF_OP_WRITE, 0, data, 1));
    notify();
    frontend(State::Closed);
    settle();
    EXPECT_EQ(mine(), to_text(State::Connected)) << "a write is under way";
    medium().release(0);
    EXPECT_TRUE(becomes(State::Closed));
}

TEST_F(DiskTest, ANewProcessServesWhatWasNotAnswered) {
    connect();
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE, 0, data, 1)), BLKIF_RSP_OKAY);
    medium().hold = true;
    for (std::uint8_t i = 0; i < 4; ++i) {
        fill(data + i, static_cast<std::uint8_t>(0x20 + i));
        push(request(BLKIF_OP_WRITE, 8u + i * 8u, data + i, i + 10u));
    }
    notify();
    medium().release(3); // done, but its turn had not come
    settle();
    EXPECT_EQ(ring().rsp_prod, 1u);
    kill();
    EXPECT_EQ(ring().rsp_prod, 1u);
    medium().hold = false;
    std::fill(medium().bytes.begin(), medium().bytes.end(), std::uint8_t{0});
    start();
    ASSERT_TRUE(until([&] { return ring().rsp_prod == 5; })) << error();
    for (unsigned i = 0; i < 4; ++i) {
        EXPECT_EQ(medium().bytes[4096 * (i + 1)], 0x20 + i);
        EXPECT_EQ(response(i + 1).id, i + 10u);
    }
    EXPECT_EQ(mine(), to_text(State::Connected));
}

TEST_F(DiskTest, ARequestOverwrittenByItsResponseIsKnown) {
    connect();
    EXPECT_EQ(ask(request(BLKIF_OP_READ, 0, data, 1)), BLKIF_RSP_OKAY);
    fill(data, 0x77);
    EXPECT_EQ(ask(request(BLKIF_OP_WRITE, 16, data, 2)), BLKIF_RSP_OKAY);
    kill();
    ring().rsp_prod = 1; // as if it had been killed just before it showed the second response
    medium().bytes[16 * 512] = 0;
    start();
    ASSERT_TRUE(until([&] { return ring().rsp_prod == 2; })) << error();
    EXPECT_EQ(medium().bytes[16 * 512], 0x77);
    EXPECT_EQ(response(1).id, 2u);
    EXPECT_EQ(response(1).operation, BLKIF_OP_WRITE);
}

TEST_F(DiskTest, WithoutItsJournalADiskIsClosed) {
    connect();
    kill();
    std::filesystem::remove(journal);
    start();
    EXPECT_TRUE(becomes(State::Closing));
    EXPECT_THAT(error(), testing::HasSubstr("journal"));
}

} // namespace
} // namespace domus::block::test
