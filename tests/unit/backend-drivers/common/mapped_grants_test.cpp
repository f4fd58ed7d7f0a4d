// Pages that stay mapped: what is copied through them, what is left to the hypervisor, and what a guest can do to them.
#include "backend-drivers/common/mapped_grants.hpp"

#include <gtest/gtest.h>
#include <vector>

#include "tests/unit/hypervisor/client/fake_grants.hpp"

namespace domus::backend::test {
namespace {

using client::GrantCopy;

struct MappedGrantsTest : testing::Test {
    static constexpr std::uint16_t domid = 3;
    std::shared_ptr<client::test::FakeGrants> guest = std::make_shared<client::test::FakeGrants>();
    Stats stats;
    MappedGrants grants{guest,
                        domid,
                        4,
                        {.pages = stats.level("pages"),
                         .held = stats.level("held"),
                         .from_guest = stats.count("from"),
                         .to_guest = stats.count("to")}};
    std::vector<std::uint8_t> local = std::vector<std::uint8_t>(4096);

    MappedGrantsTest() {
        for (std::uint32_t i = 0; i < 10; ++i) {
            guest->grant(i);
            std::memset(guest->page(i), static_cast<int>(i), 4096);
        }
        stats.level("held").set(5);
    }
    GrantCopy piece(std::uint32_t reference, bool to_guest, std::uint16_t offset = 0, std::uint16_t length = 100) {
        return {
            .reference = reference, .offset = offset, .length = length, .local = local.data(), .to_guest = to_guest};
    }
    std::int16_t copy(GrantCopy one) {
        grants.copy(domid, std::span(&one, 1));
        return one.status;
    }
};

TEST_F(MappedGrantsTest, WhatIsMappedTakesNoCall) {
    grants.add(7, true);
    EXPECT_EQ(copy(piece(7, false)), 0);
    EXPECT_EQ(local[99], 7);
    local[0] = 99;
    EXPECT_EQ(copy(piece(7, true, 4000, 96)), 0);
    EXPECT_EQ(guest->page(7)[4000], 99);
    EXPECT_EQ(guest->copies, 0u);
    EXPECT_EQ(stats.count("from").get(), 1u);
    EXPECT_EQ(stats.count("to").get(), 1u);
}

TEST_F(MappedGrantsTest, AllTablesTogetherHaveABound) {
    {
        const auto large = std::make_shared<client::test::FakeGrants>(most_mapped_in_all + 1);
        MappedGrants greedy(large, domid, 2 * most_mapped_in_all, {});
        for (std::uint32_t i = 0; greedy.room() != 0; ++i) {
            large->grant(i);
            greedy.add(i, true);
        }
        EXPECT_EQ(greedy.size(), most_mapped_in_all);
        EXPECT_EQ(grants.room(), 0u) << "another card's";
        EXPECT_TRUE(greedy.remove(7));
        EXPECT_EQ(grants.room(), 1u);
        grants.add(7, true);
        EXPECT_EQ(greedy.room(), 0u);
    }
    EXPECT_EQ(grants.room(), 3u) << "what a table that is gone had is given back";
    grants.clear();
    EXPECT_EQ(grants.room(), 4u);
}

TEST_F(MappedGrantsTest, OfAMixedBatchOnlyTheOthersAreAskedFor) {
    grants.add(2, true);
    grants.add(4, true);
    std::vector<std::uint8_t> memory(8 * 4096);
    std::vector<GrantCopy> pieces;
    for (const std::uint32_t reference : {1u, 2u, 3999u, 4u, 5u}) {
        pieces.push_back(
            {.reference = reference, .length = 4096, .local = memory.data() + pieces.size() * 4096, .to_guest = false});
    }
    grants.copy(domid, pieces);
    EXPECT_EQ(guest->copies, 1u);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        EXPECT_EQ(pieces[i].status, i == 2 ? -3 : 0) << i;
        EXPECT_EQ(memory[i * 4096 + 4095], i == 2 ? 0 : i + 1) << i;
    }
}

TEST_F(MappedGrantsTest, AReadOnlyPageIsNeverWrittenThrough) {
    guest->grant(6, false);
    EXPECT_THROW(grants.add(6, true), client::Error);
    EXPECT_EQ(grants.size(), 0u);
    grants.add(6, false);
    EXPECT_EQ(copy(piece(6, true)), -3) << "asked for, and refused as ever";
    EXPECT_EQ(guest->page(6)[0], 6);
    EXPECT_EQ(copy(piece(6, false)), 0);
    grants.add(8, false); // mapped read-only, granted for writing
    EXPECT_EQ(copy(piece(8, true)), 0);
    EXPECT_EQ(guest->page(8)[0], 6);
    EXPECT_EQ(guest->copies, 2u);
}

TEST_F(MappedGrantsTest, NothingReachesBeyondThePage) {
    grants.add(1, true);
    EXPECT_EQ(copy(piece(1, true, 4000, 97)), -3);
    EXPECT_EQ(guest->copies, 1u);
}

TEST_F(MappedGrantsTest, AGuestThatRevokesHurtsItselfOnly) {
    grants.add(1, true);
    guest->revoke(1);
    EXPECT_EQ(copy(piece(1, false)), 0) << "the page is still the guest's";
    EXPECT_TRUE(grants.remove(1));
    EXPECT_EQ(copy(piece(1, false)), -3);
    EXPECT_THROW(grants.add(1, false), client::Error);
}

TEST_F(MappedGrantsTest, OfAnotherDomainNothingIsMapped) {
    grants.add(1, true);
    GrantCopy one = piece(1, false);
    grants.copy(domid + 1, std::span(&one, 1));
    EXPECT_EQ(guest->copies, 1u);
}

TEST_F(MappedGrantsTest, ComesAndGoesInAnyOrderAndIsCounted) {
    for (const std::uint32_t reference : {5u, 0xffffffffu, 1u, 9u, 3u}) {
        if (reference != 0xffffffff) {
            grants.add(reference, true);
        } else {
            EXPECT_THROW(grants.add(reference, true), client::Error);
        }
    }
    EXPECT_EQ(grants.size(), 4u);
    EXPECT_EQ(guest->mapped, 4u);
    EXPECT_EQ(stats.level("pages").get(), 4u);
    EXPECT_EQ(stats.level("held").get(), 9u);
    EXPECT_FALSE(grants.remove(4));
    EXPECT_TRUE(grants.remove(3));
    EXPECT_FALSE(grants.remove(3));
    for (const std::uint32_t reference : {5u, 1u, 9u}) {
        EXPECT_TRUE(grants.has(reference));
        EXPECT_EQ(copy(piece(reference, false)), 0);
        EXPECT_EQ(local[0], reference);
    }
    grants.clear();
    EXPECT_EQ(guest->mapped, 0u);
    EXPECT_EQ(stats.level("held").get(), 5u);
    EXPECT_EQ(guest->copies, 0u);
}

} // namespace
} // namespace domus::backend::test
