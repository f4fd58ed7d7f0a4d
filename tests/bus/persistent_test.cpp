// Persistent grants between domus-blockd's device and guestkit's disk, over the hypervisor's own grants.
#include "tests/bus/disk_world.hpp"

namespace domus::bus {
namespace {

struct PersistentDiskTest : testing::Test, DiskOnTheBus {
    PersistentDiskTest() : DiskOnTheBus(Grants::Persistent) {}
};

TEST_F(PersistentDiskTest, WhatIsMappedOnceIsNeitherMappedNorCopiedAgain) {
    ASSERT_TRUE(up());
    for (unsigned i = 0; i < 8; ++i)
        guest->start(work(i, 64, 2));
    ASSERT_TRUE(ends());
    constexpr usize rings = 4 * 4, all = rings + 4 * guest::DiskLimits().kept;
    ASSERT_EQ(bus.grants().mapped(), all);
    bus.faults.refuse_maps = bus.faults.refuse_copies = 1000;
    for (unsigned i = 0; i < 8; ++i)
        guest->start(work(i, 64, 4));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    EXPECT_EQ(bus.faults.refuse_maps + bus.faults.refuse_copies, 2000u) << "nothing was mapped or copied by grant";
    EXPECT_EQ(bus.grants().mapped(), all);
    bus.faults = {};
    goes();
}

TEST_F(PersistentDiskTest, PiecesAtAnySectorOfAPage) {
    for (const bool in_place : {true, false}) {
        medium.takes_parts = in_place;
        medium.in_place = 0;
        stage = "none";
        ASSERT_TRUE(up());
        for (unsigned i = 0; i < 8; ++i)
            guest->start(work(i, 16, 3, i)); // from sector i of a page on
        ASSERT_TRUE(ends());
        EXPECT_EQ(failed + wrong, 0u);
        EXPECT_EQ(medium.in_place != 0, in_place);
        goes();
    }
}

TEST_F(PersistentDiskTest, AGuestMayDoWithout) {
    ASSERT_TRUE(up({.kept = 0}));
    EXPECT_FALSE(disk->persistent());
    EXPECT_EQ(bus.read("/local/domain/1/device/vbd/51712/feature-persistent"), "0");
    guest->start(work(0, 64, 2));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    EXPECT_EQ(*room, room_in_all);
    goes();
}

// 128 of each queue are the limit; for two of them a table of 512 has room, one that others use has not.
TEST_F(PersistentDiskTest, AGuestShortOfGrantsDoesWithout) {
    std::vector<u32> used;
    u8* page = guest->take_pages().value();
    for (unsigned i = 0; i < 300; ++i)
        used.push_back(guest->kit().grants.lend(0, page).value());
    ASSERT_TRUE(up({.queues = 2, .kept = 1000}));
    EXPECT_FALSE(disk->persistent());
    guest->start(work(0, 16, 2));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    for (const u32 reference : used)
        EXPECT_TRUE(guest->kit().grants.take_back(reference));
    goes();
    stage = "none";
    ASSERT_TRUE(up({.queues = 2, .kept = 1000}));
    EXPECT_TRUE(disk->persistent()) << "and takes it up when it has them";
    guest->start(work(0, 64, 2));
    ASSERT_TRUE(ends());
    EXPECT_EQ(medium.largest, block::most_segments * page_size);
    EXPECT_EQ(failed + wrong, 0u);
    goes();
    guest->give_page(page);
}

// One page at a time: the list of an indirect request would be the only one.
TEST_F(PersistentDiskTest, OnePageIsEnough) {
    ASSERT_TRUE(up({1, 0, 32, 1}));
    for (unsigned i = 0; i < 4; ++i)
        guest->start(work(i, 16, 1));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    EXPECT_EQ(medium.largest, page_size);
    goes();
}

// Over the hypervisor's own grants: what stays mapped cannot be taken back, what a guest revokes by force stays its
// own, a batch that fails leaves nothing, and a guest that dies gets its pages back when they are let go (~Bus counts
// them).
TEST(PersistentGrants, WhatIsMappedIsTheGuestsAndComesBack) {
    Bus bus;
    Guest& guest = bus.boot();
    const auto room = std::make_shared<std::size_t>(100);
    auto& table = guest.kit().grants;
    u8* page = guest.take_pages().value();
    const u32 writable = table.lend(0, page).value();
    u8* other = guest.take_pages().value();
    const u32 read_only = table.lend(0, other, guest::Lend::ReadOnly).value();
    {
        block::PersistentGrants kept(bus.access().grants, guest.domid, 8, room, backend::Stats::Value());
        std::vector<std::uint32_t> missing{writable, read_only};
        kept.keep(missing);
        EXPECT_EQ(bus.grants().mapped(), 0u) << "the second one fails: all or none";
        missing = {writable};
        kept.keep(missing);
        ASSERT_TRUE(kept.hold(writable));
        EXPECT_EQ(bus.grants().mapped(), 1u);
        EXPECT_EQ(table.take_back(writable).error(), Err::Busy);
        auto& entry = guest.grant_table()[writable]; // as a guest that does not ask
        entry.frame = static_cast<u32>(guest.frame_of(other).n);
        std::memset(kept.hold(writable).page(), 0x5a, page_size);
        EXPECT_EQ(page[7], 0x5a) << "what it meant when it was mapped";
        EXPECT_EQ(other[7], 0);
        entry.frame = static_cast<u32>(guest.frame_of(page).n);
        kept.clear();
        EXPECT_TRUE(table.take_back(writable));
        missing = {table.lend(0, page).value()};
        kept.keep(missing);
        EXPECT_EQ(bus.grants().mapped(), 1u);
        bus.kill(guest);
        bus.settle();
        EXPECT_TRUE(kept.hold(missing[0])) << "a dead guest's page stays until it is let go";
    }
    EXPECT_EQ(bus.grants().mapped(), 0u);
    EXPECT_EQ(*room, 100u);
}

} // namespace
} // namespace domus::bus
