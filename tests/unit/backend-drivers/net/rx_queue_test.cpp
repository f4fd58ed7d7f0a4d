// The receive ring as a whole: slots and flags, room, frontends that can little, and restarts.
#include <gtest/gtest.h>

#include <bit>

#include "tests/unit/backend-drivers/net/frontend.hpp"

namespace domus::net::test {
namespace {

struct RxQueueTest : testing::Test {
    RxPage page;
    FakeGrants grants;
    FakeWire wire;
    backend::Stats stats;
    RxQueue::Settings settings{.domid = 1, .scatter = true, .checksum6 = true, .gso4 = true, .gso6 = true};

    RxQueue queue(RingIndex at = 0) {
        return {RxRing(page.memory, page_size, at, at),
                grants,
                wire,
                settings,
                {stats.count("packets"), stats.count("bytes"), stats.count("dropped"), stats.count("batches")}};
    }
    void post(unsigned count) {
        for (unsigned i = 0; i < count; ++i) {
            const RingIndex at = page.shared().req_prod;
            grants.grant(1000 + at % 256);
            page.push({.id = static_cast<std::uint16_t>(at % 256), .pad = 0, .gref = 1000 + at % 256});
        }
    }
    Bytes received(RingIndex first, const std::vector<unsigned>& slots) {
        Bytes all;
        for (const unsigned slot : slots) {
            const auto& from = grants.pages.at(1000 + (first + slot) % 256);
            all.insert(all.end(), from.begin(), from.begin() + page.response(first + slot).status);
        }
        return all;
    }
    WireHeader header(unsigned type = wire::gso_none, unsigned size = 0) {
        WireHeader out{};
        out.flags = wire::needs_checksum;
        out.gso_type = static_cast<std::uint8_t>(type);
        out.gso_size = static_cast<std::uint16_t>(size);
        out.csum_start = 34;
        out.csum_offset = 16;
        return out;
    }
};

TEST_F(RxQueueTest, OnePacketInOneSlot) {
    auto rx = queue();
    post(4);
    wire.incoming.push_back({{}, packet(4, true, 100)});
    EXPECT_EQ(rx.serve(), Turn::Idle);
    EXPECT_EQ(page.shared().rsp_prod, 1u);
    EXPECT_EQ(page.response(0).flags, 0);
    EXPECT_EQ(page.response(0).id, 0);
    EXPECT_EQ(received(0, {0}), packet(4, true, 100));
}

TEST_F(RxQueueTest, ASegmentedPacketHasItsExtraSecond) {
    auto rx = queue();
    post(256);
    const Bytes bytes = packet(4, true, 9000);
    wire.incoming.push_back({header(wire::gso_tcp4, 1448), bytes});
    rx.serve();
    ASSERT_EQ(page.shared().rsp_prod, 4u);
    EXPECT_EQ(page.response(0).flags, NETRXF_csum_blank | NETRXF_data_validated | NETRXF_more_data | NETRXF_extra_info);
    const auto info = std::bit_cast<netif_extra_info_t>(page.response(1));
    EXPECT_EQ(info.type, XEN_NETIF_EXTRA_TYPE_GSO);
    EXPECT_EQ(info.u.gso.type, XEN_NETIF_GSO_TYPE_TCPV4);
    EXPECT_EQ(info.u.gso.size, 1448);
    EXPECT_EQ(page.response(2).flags, NETRXF_more_data);
    EXPECT_EQ(page.response(3).flags, 0);
    EXPECT_EQ(received(0, {0, 2, 3}), bytes);
}

TEST_F(RxQueueTest, TheLargestPacketFits) {
    auto rx = queue();
    post(256);
    Bytes bytes = packet(6, true, 65000);
    bytes.resize(longest_packet, 7);
    wire.incoming.push_back({header(wire::gso_tcp6, 1428), bytes});
    rx.serve();
    EXPECT_EQ(page.shared().rsp_prod, 17u);
    std::vector<unsigned> slots{0};
    for (unsigned slot = 2; slot < 17; ++slot) {
        slots.push_back(slot);
    }
    EXPECT_EQ(received(0, slots), bytes);
}

TEST_F(RxQueueTest, APacketWaitsForRoomAndIsNotLost) {
    auto rx = queue();
    post(2);
    const Bytes large = packet(4, true, 9000);
    wire.incoming.push_back({{}, packet(4, true, 1)});
    wire.incoming.push_back({header(wire::gso_tcp4, 1448), large});
    wire.incoming.push_back({{}, packet(4, true, 3)});
    EXPECT_EQ(rx.serve(), Turn::Starved);
    EXPECT_EQ(page.shared().rsp_prod, 1u);
    EXPECT_FALSE(rx.arm());
    EXPECT_EQ(page.shared().req_event, 5u) << "one used, four wanted";
    EXPECT_EQ(rx.serve(), Turn::Starved) << "still";
    post(5);
    EXPECT_TRUE(rx.arm());
    EXPECT_EQ(rx.serve(), Turn::Idle);
    EXPECT_EQ(page.shared().rsp_prod, 6u);
    EXPECT_EQ(received(1, {0, 2, 3}), large);
    EXPECT_EQ(received(5, {0}), packet(4, true, 3));
}

TEST_F(RxQueueTest, AFrontendThatCanLittleGetsPlainPackets) {
    settings = {.domid = 1, .scatter = false, .checksum4 = false, .checksum6 = false};
    auto rx = queue();
    post(10);
    wire.incoming.push_back({header(), packet(4, true, 100)});
    wire.incoming.push_back({header(wire::gso_tcp4, 1448), packet(4, true, 2000)});
    wire.incoming.push_back({{}, packet(4, true, 5000)});
    rx.serve();
    EXPECT_EQ(page.shared().rsp_prod, 1u);
    EXPECT_EQ(page.response(0).flags, NETRXF_data_validated) << "its checksum was completed";
    EXPECT_NE(received(0, {0}), packet(4, true, 100));
    EXPECT_EQ(stats.count("dropped").get(), 2u);
}

TEST_F(RxQueueTest, ABlankChecksumThatTheFrontendCouldNotFindIsCompleted) {
    auto rx = queue();
    post(1);
    Bytes bytes = packet(4, true, 100);
    bytes[23] = 132; // SCTP: no frontend looks there
    wire.incoming.push_back({header(), bytes});
    rx.serve();
    EXPECT_EQ(page.response(0).flags & NETRXF_csum_blank, 0);
}

TEST_F(RxQueueTest, ABufferNotGrantedIsAnError) {
    auto rx = queue();
    page.push({.id = 0, .pad = 0, .gref = 77});
    post(1);
    wire.incoming.push_back({{}, packet(4, true, 1)});
    wire.incoming.push_back({{}, packet(4, true, 2)});
    rx.serve();
    EXPECT_EQ(page.response(0).status, NETIF_RSP_ERROR);
    EXPECT_EQ(received(0, {1}), packet(4, true, 2));
    EXPECT_EQ(stats.count("packets").get(), 1u);
}

TEST_F(RxQueueTest, AWireThatBreaksIsTold) {
    struct Broken : FakeWire {
        ssize_t receive(std::span<const iovec>) override { return -EBADFD; }
    } broken;
    RxQueue rx(RxRing(page.memory, page_size), grants, broken, settings,
               {stats.count("packets"), stats.count("bytes"), stats.count("dropped"), stats.count("batches")});
    post(1);
    EXPECT_THROW(rx.serve(), std::system_error);
}

TEST_F(RxQueueTest, ANewProcessGivesDoubtfulBuffersBackAndGoesOn) {
    post(256);
    {
        auto first = queue();
        wire.incoming.push_back({{}, packet(4, true, 1)});
        first.serve();
    }
    // It died having written one response more than it showed: the reference in that slot is gone.
    netif_rx_response_t half{.id = 1, .offset = 0, .flags = 0, .status = 60};
    std::memcpy(&page.shared().slots[1], &half, sizeof half);
    auto second = queue(RxRing::shown_in(page.memory));
    second.forget_first();
    EXPECT_EQ(page.shared().rsp_prod, 19u);
    for (RingIndex i = 1; i < 19; ++i) {
        EXPECT_EQ(page.response(i).status, NETIF_RSP_ERROR);
        EXPECT_EQ(page.response(i).id, i);
    }
    wire.incoming.push_back({{}, packet(4, true, 2)});
    second.serve();
    EXPECT_EQ(received(19, {0}), packet(4, true, 2));
}

TEST_F(RxQueueTest, BatchesAreOneCopy) {
    auto rx = queue();
    post(256);
    for (unsigned i = 0; i < 64; ++i) {
        wire.incoming.push_back({{}, packet(4, false, i)});
    }
    rx.serve();
    EXPECT_EQ(grants.calls, 1u);
    EXPECT_EQ(page.shared().rsp_prod, 64u);
    for (unsigned i = 0; i < 64; ++i) {
        EXPECT_EQ(received(i, {0}), packet(4, false, i));
    }
}

} // namespace
} // namespace domus::net::test
