// domus-blockd's device (backend-drivers/block) and guestkit's disk against each other, with grants that are copied and
// with such that stay mapped; what is of the latter alone: persistent_test.cpp.
#include "tests/bus/disk_world.hpp"

#include <cstdlib>

namespace domus::bus {
namespace {

using testing::HasSubstr;

std::string name_of(const testing::TestParamInfo<Grants>& with) {
    return with.param == Grants::Persistent ? "Persistent" : "Copied";
}
const auto both_ways = testing::Values(Grants::Copied, Grants::Persistent);

struct DiskTest : testing::TestWithParam<Grants>, DiskOnTheBus {
    DiskTest() : DiskOnTheBus(GetParam()) {}
};
INSTANTIATE_TEST_SUITE_P(Grants, DiskTest, both_ways, name_of);

TEST_P(DiskTest, EveryQueueCarriesLargeRequests) {
    ASSERT_TRUE(up());
    EXPECT_EQ(disk->persistent(), persistent());
    EXPECT_EQ(disk->queues(), 4u);
    EXPECT_EQ(disk->requests(), 4 * 128u); // rings of four pages
    EXPECT_EQ(disk->segments(), block::most_segments);
    for (unsigned i = 0; i < 8; ++i)
        guest->start(work(i, 64, 4));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 0u);
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(medium.flushes, 32u);
    // Indirect descriptors carry a request whole, or as much of it as a queue keeps pages, one of which is the list.
    EXPECT_EQ(medium.largest, (persistent() ? guest::DiskLimits().kept - 1 : 64) * page_size);
    EXPECT_EQ(medium.in_place != 0, persistent());
    EXPECT_EQ(disk->reconnects(), 0u);
    goes();
}

TEST_P(DiskTest, OneRingOfOnePageWithoutIndirectDescriptorsDoes) {
    ASSERT_TRUE(up({1, 0, 0}));
    EXPECT_EQ(disk->requests(), 32u);
    for (unsigned i = 0; i < 4; ++i)
        guest->start(work(i, 64, 2)); // each in six messages
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 0u);
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(medium.largest, 11 * page_size);
    goes();
}

TEST_P(DiskTest, MoreRequestsThanTheRingHoldsWait) {
    ASSERT_TRUE(up({1, 0, 0}));
    for (unsigned i = 0; i < 100; ++i)
        guest->start(work(i, 1, 3));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    goes();
}

TEST_P(DiskTest, AnErrorOfTheMediumIsThatRequestsAlone) {
    ASSERT_TRUE(up());
    medium.error = EIO;
    guest->start(work(0, 4, 1));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 1u);
    medium.error = 0;
    bus.faults.refuse_maps = 1; // of pages that were to stay mapped
    bus.faults.refuse_copies = 1;
    guest->start(work(0, 4, 1));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 2u);
    bus.faults = {};
    guest->start(work(0, 4, 1));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 2u);
    EXPECT_EQ(wrong, 0u);
    goes();
}

// The backend gives up in the middle of everything: what was under way is sent to the next one.
TEST_P(DiskTest, ABackendThatFailsIsConnectedToAnew) {
    ASSERT_TRUE(up());
    for (unsigned i = 0; i < 6; ++i)
        guest->start(work(i, 16, 20));
    for (unsigned i = 1; i <= 5; ++i) {
        ASSERT_TRUE(bus.until([&] { return rounds >= i * 10; }));
        device->fail("the cable came off");
        ASSERT_TRUE(bus.until([&] { return disk->reconnects() == i; }));
    }
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    goes();
}

TEST_P(DiskTest, ABackendThatWasKilledGoesOnWithTheOldRings) {
    ASSERT_TRUE(up());
    for (unsigned i = 0; i < 6; ++i)
        guest->start(work(i, 16, 20));
    for (unsigned i = 1; i <= 5; ++i) {
        ASSERT_TRUE(bus.until([&] { return rounds >= i * 10; }));
        device->stop();
        bus.settle();
        ASSERT_FALSE(bus.serving());
        serve();
    }
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    EXPECT_EQ(disk->reconnects(), 0u);
    EXPECT_EQ(medium.opened, 6u);
    goes();
}

TEST_P(DiskTest, MapsThatFailAreTriedAgain) {
    ASSERT_TRUE(up());
    guest->start(work(0, 16, 50));
    ASSERT_TRUE(bus.until([&] { return rounds == 3; }));
    bus.faults.refuse_maps = 3; // in three connections, one after the other
    device->fail("again");
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    EXPECT_EQ(disk->reconnects(), 1u);
    goes();
}

TEST_P(DiskTest, ABackendThatNeverTakesUsEndsRequests) {
    ASSERT_TRUE(up());
    guest->start(work(0, 16, 50));
    ASSERT_TRUE(bus.until([&] { return rounds == 3; }));
    bus.faults.refuse_maps = 1000000;
    device->fail("for good");
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 50u - 3u);
    guest->start(close());
    ASSERT_TRUE(bus.until([&] { return stage == "closed"; }));
    EXPECT_EQ(closed, Err::NoDev);
    EXPECT_EQ(guest->kit().grants.lent(), 0u);
}

TEST_P(DiskTest, AnUnplugEndsRequests) {
    ASSERT_TRUE(up());
    guest->start(work(0, 16, 1000));
    ASSERT_TRUE(bus.until([&] { return rounds == 3; }));
    bus.write(id.path() + "/online", "0");
    bus.write(id.path() + "/state", "5");
    ASSERT_TRUE(ends());
    EXPECT_GT(failed, 0u);
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(guest->kit().grants.lent(), 0u);
}

// A backend that answers what nobody asked, or claims to have answered more than there was.
TEST_P(DiskTest, ABackendThatLiesIsNotBelieved) {
    ASSERT_TRUE(up({1, 0, 0}));
    const auto reference = static_cast<u32>(std::stoul(*bus.read("/local/domain/1/device/vbd/51712/ring-ref")));
    auto* ring = static_cast<u32*>(bus.grants().map(1, std::span(&reference, 1), true));
    guest->start(work(0, 1, 5));
    EXPECT_TRUE(bus.until([&] { return ring[2] != 0; }));
    ring[2] += 1000; // rsp_prod: answered by the backend, not yet seen by the guest
    EXPECT_TRUE(ends());
    bus.grants().unmap(ring, 1);
    EXPECT_EQ(failed, 5u);
    EXPECT_THAT(guest->said, HasSubstr("broke the protocol"));
}

struct DiskAlone : testing::TestWithParam<Grants> {
    // The trace of so many reconnects under load.
    static std::vector<std::string> reconnect(unsigned times) {
        DiskOnTheBus world(GetParam());
        EXPECT_TRUE(world.up({1, 0, 32}));
        for (unsigned i = 0; i < 3; ++i)
            world.guest->start(world.work(i, 1, 1000000));
        for (unsigned i = 1; i <= times; ++i) {
            const auto before = world.rounds;
            EXPECT_TRUE(world.bus.until([&] { return world.rounds > before; }));
            EXPECT_EQ(world.disk->persistent(), world.persistent());
            EXPECT_EQ(*world.room < room_in_all, world.persistent()) << "pages stay mapped";
            for (unsigned steps = i % 17; steps > 0; --steps)
                world.bus.step();
            world.bus.faults.refuse_maps = i % 10 == 0 ? 2 : 0;
            if (i % 4 == 3) { // killed, and the next one does not get far either
                world.device->stop();
                world.bus.settle();
                world.serve();
            }
            world.device->fail("once more");
            EXPECT_TRUE(world.bus.until([&] { return world.disk->reconnects() == i; })) << i;
            if (HasFailure())
                break;
        }
        world.stop = true;
        EXPECT_TRUE(world.ends());
        EXPECT_EQ(world.failed + world.wrong, 0u);
        world.goes();
        return world.bus.trace();
    }
};
INSTANTIATE_TEST_SUITE_P(Grants, DiskAlone, both_ways, name_of);

// With DOMUS_LONG=1 (`make test-long`) a thousand times.
TEST_P(DiskAlone, ManyReconnects) {
    reconnect(std::getenv("DOMUS_LONG") ? 1000 : 100);
    const auto first = reconnect(5);
    EXPECT_EQ(reconnect(5), first) << "each run is the same";
}

TEST_P(DiskAlone, TheGuestDiesAtEveryStep) {
    for (unsigned deadline = 0;; deadline += 7) {
        DiskOnTheBus world(GetParam());
        world.guest->start(world.connect({2, 1, 32}));
        unsigned step = 0;
        for (; step < deadline && world.stage == "none"; ++step)
            world.bus.step();
        if (world.stage == "connected")
            for (unsigned i = 0; i < 3; ++i)
                world.guest->start(world.work(i, 16, 2));
        for (; step < deadline && (world.stage == "none" || world.working != 0); ++step)
            world.bus.step();
        const bool done = step < deadline;
        world.bus.kill(*world.guest);
        world.bus.settle();
        world.bus.unplug(world.id, "vbd");
        world.bus.settle();
        EXPECT_FALSE(world.bus.serving()) << "after " << deadline << " steps at " << world.stage;
        EXPECT_EQ(world.bus.grants().mapped(), 0u) << "after " << deadline << " steps at " << world.stage;
        if (done)
            break;
    } // ~Bus: no memory was lost
}

} // namespace
} // namespace domus::bus
