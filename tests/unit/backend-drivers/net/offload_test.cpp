// Offloads both ways, and headers that a guest has bent.
#include <gtest/gtest.h>

#include <random>

#include "tests/unit/backend-drivers/net/frontend.hpp"

namespace domus::net::test {
namespace {

Offload blank(Gso gso = Gso::None, unsigned size = 0) {
    return {.checksum_blank = true, .validated = true, .gso = gso, .gso_size = static_cast<std::uint16_t>(size)};
}

TEST(Offload, ChecksumPlaces) {
    for (const unsigned version : {4u, 6u}) {
        for (const bool tcp : {true, false}) {
            const Bytes bytes = packet(version, tcp, 100);
            const auto header = to_wire(blank(), bytes, bytes.size());
            ASSERT_TRUE(header);
            EXPECT_EQ(header->flags, wire::needs_checksum);
            EXPECT_EQ(header->csum_start, version == 4 ? 34 : 54);
            EXPECT_EQ(header->csum_offset, tcp ? 16 : 6);
            EXPECT_EQ(header->gso_type, wire::gso_none);
        }
    }
}

TEST(Offload, VlanTagsAreSteppedOver) {
    Bytes bytes = packet(4, true, 10);
    const std::uint8_t tag[] = {0x81, 0x00, 0x00, 0x05};
    bytes.insert(bytes.begin() + 12, std::begin(tag), std::end(tag));
    EXPECT_EQ(to_wire(blank(), bytes, bytes.size())->csum_start, 38);
}

TEST(Offload, Ipv6ExtensionsAreSteppedOver) {
    Bytes bytes = packet(6, true, 10);
    bytes[14 + 6] = 0;                                        // hop by hop,
    const std::uint8_t options[8] = {6, 0, 1, 4, 0, 0, 0, 0}; // then TCP
    bytes.insert(bytes.begin() + 54, std::begin(options), std::end(options));
    EXPECT_EQ(to_wire(blank(), bytes, bytes.size())->csum_start, 62);
}

TEST(Offload, SegmentationBothFamilies) {
    for (const unsigned version : {4u, 6u}) {
        const Bytes bytes = packet(version, true, 5000);
        const auto header = to_wire(blank(version == 4 ? Gso::Tcp4 : Gso::Tcp6, 1400), bytes, bytes.size());
        ASSERT_TRUE(header);
        EXPECT_EQ(header->gso_type, version == 4 ? wire::gso_tcp4 : wire::gso_tcp6);
        EXPECT_EQ(header->gso_size, 1400);
        EXPECT_EQ(header->hdr_len, version == 4 ? 54 : 74);
        EXPECT_FALSE(to_wire(blank(version == 4 ? Gso::Tcp6 : Gso::Tcp4, 1400), bytes, bytes.size()))
            << "the wrong family";
    }
    const Bytes udp = packet(4, false, 5000);
    EXPECT_FALSE(to_wire(blank(Gso::Tcp4, 1400), udp, udp.size()));
}

TEST(Offload, NothingToDoNeedsNoHeaders) {
    const Bytes arp(60, 0xff);
    const auto header = to_wire({}, arp, arp.size());
    ASSERT_TRUE(header);
    EXPECT_EQ(header->flags, 0);
    EXPECT_FALSE(to_wire(blank(), arp, arp.size())) << "there is no checksum to fill in";
}

TEST(Offload, BentHeadersAreRefused) {
    const auto refused = [](std::size_t at, std::uint8_t value, unsigned version = 4) {
        Bytes bytes = packet(version, true, 10);
        bytes[at] = value;
        return !to_wire(blank(), bytes, bytes.size());
    };
    EXPECT_TRUE(refused(14, 0x44)) << "IPv4 header of 16 bytes";
    EXPECT_TRUE(refused(14, 0x55)) << "version 5";
    EXPECT_TRUE(refused(20, 0x20)) << "more fragments";
    EXPECT_TRUE(refused(21, 0x01)) << "not the first fragment";
    EXPECT_TRUE(refused(23, 1)) << "ICMP";
    EXPECT_TRUE(refused(46, 0x10)) << "TCP header of 4 bytes";
    EXPECT_TRUE(refused(46, 0xf0)) << "TCP header beyond the end";
    EXPECT_TRUE(refused(20, 44, 6)) << "IPv6 fragment";
    EXPECT_TRUE(refused(20, 0, 6)) << "extension header that leads nowhere";
}

TEST(Offload, EveryCutIsSurvived) {
    for (const unsigned version : {4u, 6u}) {
        const Bytes bytes = packet(version, true, 0);
        for (std::size_t size = 0; size < bytes.size(); ++size) {
            const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)); // exact, for ASan
            EXPECT_FALSE(to_wire(blank(), cut, cut.size())) << size;
        }
    }
}

TEST(Offload, FromTheTap) {
    WireHeader header{};
    EXPECT_EQ(from_wire(header), Offload{});
    header.flags = wire::data_valid;
    EXPECT_EQ(from_wire(header), (Offload{.validated = true}));
    header.flags = wire::needs_checksum;
    EXPECT_EQ(from_wire(header), blank());
    header.gso_type = wire::gso_tcp4 | wire::gso_ecn;
    header.gso_size = 1448;
    EXPECT_EQ(from_wire(header), blank(Gso::Tcp4, 1448));
    header.gso_type = wire::gso_tcp6;
    EXPECT_EQ(from_wire(header), blank(Gso::Tcp6, 1448));
    header.gso_type = wire::gso_udp;
    EXPECT_FALSE(from_wire(header)) << "never asked for";
    header.gso_type = wire::gso_tcp4;
    header.gso_size = 0;
    EXPECT_FALSE(from_wire(header));
}

TEST(Offload, ACompletedChecksumSumsToNothing) {
    std::mt19937 random(7);
    for (int round = 0; round < 200; ++round) {
        Bytes bytes = packet(4, round % 2 == 0, random() % 300);
        for (std::size_t i = 42 + 12; i < bytes.size(); ++i) {
            bytes[i] = static_cast<std::uint8_t>(random());
        }
        WireHeader header{};
        header.csum_start = 34;
        header.csum_offset = round % 2 == 0 ? 16 : 6;
        bytes[34 + header.csum_offset] = 0x12; // the pseudo header's sum, here any number
        bytes[35 + header.csum_offset] = 0x34;
        ASSERT_TRUE(complete_checksum(header, bytes));
        std::uint32_t sum = 0x1234; // the pseudo header stands in for itself
        for (std::size_t i = 34; i < bytes.size(); ++i) {
            sum += (i - 34) % 2 == 0 ? bytes[i] * 256u : bytes[i];
        }
        while (sum >> 16 != 0) {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        EXPECT_EQ(sum, 0xffffu) << round;
    }
}

TEST(Offload, AChecksumOutsideThePacketIsRefused) {
    Bytes bytes(60);
    WireHeader header{};
    header.csum_start = 50;
    header.csum_offset = 9;
    EXPECT_FALSE(complete_checksum(header, bytes));
    header.csum_start = 65535;
    header.csum_offset = 65535;
    EXPECT_FALSE(complete_checksum(header, bytes));
}

} // namespace
} // namespace domus::net::test
