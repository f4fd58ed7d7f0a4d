// The transmit ring as a whole: batches, refusals, order, and what a killed process leaves for the next.
#include <gtest/gtest.h>

#include "tests/unit/backend-drivers/net/frontend.hpp"

namespace domus::net::test {
namespace {

using namespace std::chrono_literals;

struct TxQueueTest : testing::Test {
    TxPage page;
    FakeGrants grants;
    FakeWire wire;
    backend::Stats stats;
    TxQueue::Settings settings{.domid = 1, .source = guest_mac};
    Clock::time_point now{};

    TxQueue queue(RingIndex at = 0) {
        return {TxRing(page.memory, page_size, at, at),
                grants,
                wire,
                settings,
                {stats.count("packets"), stats.count("bytes"), stats.count("dropped"), stats.count("spoofed"),
                 stats.count("batches")}};
    }

    /// Puts a packet's bytes into a granted page and asks to send them.
    void ask(std::uint32_t reference, const Bytes& bytes, unsigned flags = 0) {
        std::copy(bytes.begin(), bytes.end(), grants.grant(reference).begin());
        page.push(request(reference, 0, flags, reference, static_cast<unsigned>(bytes.size())));
    }
};

TEST_F(TxQueueTest, PacketsGoOutInOrderInOneCopyAndOneCall) {
    auto tx = queue();
    for (std::uint32_t i = 1; i <= 5; ++i) {
        ask(i, packet(4, true, i), NETTXF_csum_blank);
    }
    EXPECT_EQ(tx.serve(now), Turn::More);
    EXPECT_EQ(tx.serve(now), Turn::Idle);
    EXPECT_EQ(grants.calls, 1u);
    EXPECT_EQ(wire.calls, 1u);
    ASSERT_EQ(wire.sent.size(), 5u);
    for (std::uint32_t i = 1; i <= 5; ++i) {
        EXPECT_EQ(wire.sent[i - 1].bytes, packet(4, true, i));
        EXPECT_EQ(page.response(i - 1).id, i);
        EXPECT_EQ(page.response(i - 1).status, NETIF_RSP_OKAY);
    }
    EXPECT_EQ(page.shared().rsp_prod, 5u);
}

TEST_F(TxQueueTest, ScatteredHeadersAreGathered) {
    auto tx = queue();
    const Bytes bytes = packet(4, true, 100);
    for (std::size_t i = 0; i < 10; ++i) { // slots of 10 bytes, the last with the rest
        auto& there = grants.grant(static_cast<std::uint32_t>(i + 1));
        const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(i * 10);
        std::copy(begin, i < 9 ? begin + 10 : bytes.end(), there.begin() + 50);
        const unsigned size = i == 0  ? static_cast<unsigned>(bytes.size())
                              : i < 9 ? 10
                                      : static_cast<unsigned>(bytes.size() - 90);
        page.push(request(static_cast<std::uint32_t>(i + 1), 50,
                          (i < 9 ? NETTXF_more_data : 0u) | (i == 0 ? NETTXF_csum_blank : 0u), 0, size));
    }
    tx.serve(now);
    ASSERT_EQ(wire.sent.size(), 1u);
    EXPECT_EQ(wire.sent[0].bytes, bytes);
    EXPECT_EQ(wire.sent[0].header.csum_start, 34);
}

TEST_F(TxQueueTest, AForeignSourceAddressIsDropped) {
    auto tx = queue();
    Bytes bytes = packet(4, true, 1);
    bytes[11] ^= 1;
    ask(1, bytes);
    tx.serve(now);
    EXPECT_TRUE(wire.sent.empty());
    EXPECT_EQ(page.response(0).status, NETIF_RSP_DROPPED);
    EXPECT_EQ(stats.count("spoofed").get(), 1u);
    settings.source.reset();
    ask(2, bytes);
    auto open = queue(1);
    open.serve(now);
    EXPECT_EQ(wire.sent.size(), 1u) << "allowed where it is configured so";
}

TEST_F(TxQueueTest, ABadReferenceCostsOnePacket) {
    auto tx = queue();
    ask(1, packet(4, true, 1));
    page.push(request(99, 0, 0, 7, 60)); // granted by nobody
    ask(3, packet(4, true, 3));
    tx.serve(now);
    EXPECT_EQ(wire.sent.size(), 2u);
    EXPECT_EQ(page.response(1).status, NETIF_RSP_ERROR);
    EXPECT_EQ(page.response(1).id, 7);
    EXPECT_EQ(page.response(2).status, NETIF_RSP_OKAY);
}

TEST_F(TxQueueTest, AWireThatRefusesCostsThePacket) {
    auto tx = queue();
    wire.errors = {{1, EIO}, {3, EAGAIN}};
    for (std::uint32_t i = 1; i <= 5; ++i) {
        ask(i, packet(4, true, i));
    }
    tx.serve(now);
    for (const std::uint32_t i : {0u, 2u, 4u}) {
        EXPECT_EQ(page.response(i).status, NETIF_RSP_OKAY) << i;
    }
    for (const std::uint32_t i : {1u, 3u}) {
        EXPECT_EQ(page.response(i).status, NETIF_RSP_DROPPED) << i;
    }
    EXPECT_EQ(wire.sent.size(), 3u);
    EXPECT_EQ(stats.count("dropped").get(), 2u);
    EXPECT_EQ(stats.count("packets").get(), 3u);
    EXPECT_EQ(page.shared().rsp_prod, 5u);
}

// Results belong to the packets that were sent, which are fewer than those of the batch.
TEST_F(TxQueueTest, EachPacketOfABatchHasItsOwnAnswer) {
    auto tx = queue();
    wire.errors = {{1, EIO}};
    Bytes foreign = packet(4, true, 2);
    foreign[11] ^= 1;
    ask(1, foreign);
    ask(2, packet(4, true, 22));
    page.push(request(99, 0, 0, 99, 60)); // granted by nobody
    page.push(request(2, 0, 0, 7, 13));   // shorter than an Ethernet header
    ask(5, packet(4, true, 55));          // what the wire refuses
    ask(6, packet(4, true, 66));
    tx.serve(now);
    const std::int16_t expected[] = {NETIF_RSP_DROPPED, NETIF_RSP_OKAY,    NETIF_RSP_ERROR,
                                     NETIF_RSP_ERROR,   NETIF_RSP_DROPPED, NETIF_RSP_OKAY};
    for (std::uint32_t i = 0; i < 6; ++i) {
        EXPECT_EQ(page.response(i).status, expected[i]) << i;
    }
    ASSERT_EQ(wire.sent.size(), 2u);
    EXPECT_EQ(wire.sent[0].bytes, packet(4, true, 22));
    EXPECT_EQ(wire.sent[1].bytes, packet(4, true, 66));
    EXPECT_EQ(wire.calls, 1u);
}

// The header goes before the data where its page has room for it: at every place in a page the packet is the same.
TEST_F(TxQueueTest, DataAnywhereInItsPage) {
    auto tx = queue();
    const Bytes bytes = packet(4, true, 946); // 1000 bytes
    const std::uint32_t offsets[] = {0, 1, 9, 10, 11, 12, 500, 3095, 3096};
    std::uint32_t reference = 1;
    for (const std::uint32_t offset : offsets) {
        std::copy(bytes.begin(), bytes.end(), grants.grant(reference).begin() + offset);
        page.push(request(reference++, offset, NETTXF_csum_blank, 0, 1000));
    }
    tx.serve(now);
    ASSERT_EQ(wire.sent.size(), std::size(offsets));
    for (const auto& frame : wire.sent) {
        EXPECT_EQ(frame.bytes, bytes);
        EXPECT_EQ(frame.header.csum_start, 34);
    }
}

// As many pieces as a batch can have: whole chains of 18 slots, headers that have no room.
TEST_F(TxQueueTest, ABatchOfLongChains) {
    auto tx = queue();
    const Bytes bytes = packet(4, true, 126); // 180 bytes
    for (std::uint32_t chain = 0; chain < 14; ++chain) {
        for (std::uint32_t i = 0; i < most_fragments; ++i) {
            std::copy_n(bytes.begin() + i * 10, 10, grants.grant(i + 1).begin());
            page.push(request(i + 1, 0, i + 1 < most_fragments ? NETTXF_more_data : 0u, 0, i == 0 ? 180 : 10));
        }
    }
    while (tx.serve(now) != Turn::Idle) {
    }
    ASSERT_EQ(wire.sent.size(), 14u);
    for (const auto& frame : wire.sent) {
        EXPECT_EQ(frame.bytes, bytes);
    }
}

TEST_F(TxQueueTest, HalfAPacketClosesTheDevice) {
    auto tx = queue();
    page.push(request(1, 0, NETTXF_more_data, 1, 600));
    EXPECT_THROW(tx.serve(now), RingError);
}

TEST_F(TxQueueTest, ARunawayProducerClosesTheDevice) {
    auto tx = queue();
    page.shared().req_prod = 257;
    EXPECT_THROW(tx.serve(now), RingError);
}

TEST_F(TxQueueTest, TheFrontendIsToldOnlyWhenItAsks) {
    auto tx = queue();
    page.shared().rsp_event = 2; // after the second response
    ask(1, packet(4, true, 1));
    tx.serve(now);
    EXPECT_FALSE(tx.take_notify());
    ask(2, packet(4, true, 1));
    tx.serve(now);
    EXPECT_TRUE(tx.take_notify());
    EXPECT_FALSE(tx.take_notify());
}

TEST_F(TxQueueTest, TheRateLimitHoldsPacketsBackAndLetsThemGo) {
    const Bytes bytes = packet(4, true, 946); // 1000 bytes
    settings.rate = RateLimit(1500, 50ms, now);
    auto tx = queue();
    ask(1, bytes);
    ask(2, bytes);
    EXPECT_EQ(tx.serve(now), Turn::Throttled);
    EXPECT_EQ(wire.sent.size(), 1u);
    EXPECT_EQ(tx.serve(now), Turn::Throttled);
    EXPECT_EQ(tx.throttled_until(), now + 50ms);
    EXPECT_EQ(tx.serve(now + 50ms), Turn::More);
    EXPECT_EQ(wire.sent.size(), 2u);
}

// Killed at the worst moments: within a batch, after each packet. The ring then shows none of the batch: what was sent
// goes again, which networks allow; nothing is lost but the first packet, whose slots may be half-written.
TEST_F(TxQueueTest, ANewProcessGoesOnAtAPacketBoundary) {
    constexpr std::uint32_t count = 6;
    for (std::uint32_t dies_after = 1; dies_after <= count; ++dies_after) {
        page = {};
        wire = {};
        for (std::uint32_t i = 1; i <= count; ++i) { // two slots each
            const Bytes bytes = packet(4, true, i + 30);
            std::copy(bytes.begin(), bytes.end(), grants.grant(i).begin());
            page.push(request(i, 0, NETTXF_more_data, i, static_cast<unsigned>(bytes.size())));
            page.push(request(i, 60, 0, i, static_cast<unsigned>(bytes.size() - 60)));
        }
        struct Killed {};
        wire.on_send = [&] {
            if (wire.sent.size() + 1 == dies_after) {
                throw Killed{};
            }
        };
        auto first = queue();
        EXPECT_THROW(first.serve(now), Killed);
        wire.on_send = {};
        const RingIndex shown = TxRing::shown_in(page.memory);
        EXPECT_EQ(shown, 0u) << "nothing is answered before all is sent";
        const std::size_t before = wire.sent.size();
        auto second = queue(shown);
        second.forget_first();
        while (second.serve(now) != Turn::Idle) {
        }
        EXPECT_EQ(page.shared().rsp_prod, 2 * count);
        ASSERT_EQ(wire.sent.size() - before, count - 1) << "all but the one in doubt";
        for (std::uint32_t i = 2; i <= count; ++i) {
            EXPECT_EQ(wire.sent[before + i - 2].bytes, packet(4, true, i + 30));
        }
        EXPECT_EQ(page.response(shown).status, NETIF_RSP_DROPPED);
    }
}

TEST_F(TxQueueTest, SlotsThatLostTheirReferencesAreNotUsed) {
    // What a process leaves that dies between writing responses and showing them.
    ask(1, packet(4, true, 1));
    TxSlot slot = request(2, 0, NETTXF_extra_info | NETTXF_csum_blank, 2, 500);
    page.push(slot);
    page.push(extra(XEN_NETIF_EXTRA_TYPE_GSO, 0, 100, XEN_NETIF_GSO_TYPE_TCPV4));
    TxChain chain;
    chain.add(slot, 1);
    chain.add(extra(XEN_NETIF_EXTRA_TYPE_GSO, 0, 100, XEN_NETIF_GSO_TYPE_TCPV4), 2);
    for (unsigned i = 0; i < 2; ++i) {
        const netif_tx_response_t response = chain.response(i, NETIF_RSP_OKAY);
        std::memcpy(&page.shared().slots[1 + i], &response, sizeof response);
    }
    page.shared().rsp_prod = 1;
    ask(4, packet(4, true, 4));
    auto tx = queue(1);
    tx.forget_first();
    EXPECT_EQ(page.shared().rsp_prod, 3u) << "both slots of the packet, and no more";
    tx.serve(now);
    ASSERT_EQ(wire.sent.size(), 1u);
    EXPECT_EQ(wire.sent[0].bytes, packet(4, true, 4));
}

TEST_F(TxQueueTest, AFullRingGoesThroughManyTimes) {
    auto tx = queue();
    for (std::uint32_t round = 0; round < 1000; ++round) {
        for (std::uint32_t i = 0; i < 256; ++i) {
            page.push(request(1, 0, 0, i, 60));
        }
        const Bytes bytes = packet(4, true, 6);
        std::copy(bytes.begin(), bytes.end(), grants.grant(1).begin());
        while (tx.serve(now) != Turn::Idle) {
        }
        ASSERT_EQ(page.shared().rsp_prod, page.shared().req_prod);
        wire.sent.clear();
    }
    EXPECT_EQ(stats.count("packets").get(), 256'000u);
}

} // namespace
} // namespace domus::net::test
