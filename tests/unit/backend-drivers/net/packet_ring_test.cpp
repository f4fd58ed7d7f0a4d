// Many packets by one call: in their order, each with its own result, none left behind. A socket pair is the tap.
#include <array>
#include <cerrno>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include "backend-drivers/net/packet_ring.hpp"
#include "backend-drivers/net/tap.hpp"

namespace domus::net::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

struct PacketRingTest : testing::Test {
    int ends[2] = {-1, -1};
    std::vector<Bytes> bytes;
    std::vector<std::array<iovec, 2>> parts;
    std::vector<Outgoing> packets;

    PacketRingTest() { EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0); }
    ~PacketRingTest() override {
        ::close(ends[0]);
        ::close(ends[1]);
    }

    void SetUp() override {
        if (!PacketRing().open()) {
            GTEST_SKIP() << "this kernel has no io_uring, or forbids it";
        }
    }
    /// Packets of `size` bytes, each with its number in front, by turns in one piece and in two.
    void make(std::size_t count, std::size_t size) {
        bytes.clear();
        parts.assign(count, {});
        packets.clear();
        for (std::size_t i = 0; i < count; ++i) {
            bytes.emplace_back(size, static_cast<std::uint8_t>(i * 3));
            bytes[i][0] = static_cast<std::uint8_t>(i);
            bytes[i][1] = static_cast<std::uint8_t>(i >> 8);
            parts[i] = {iovec{bytes[i].data(), i % 2 == 0 ? size : 4}, iovec{bytes[i].data() + 4, size - 4}};
            packets.push_back({.pieces = std::span<const iovec>(parts[i]).first(1 + i % 2)});
        }
    }
    Bytes arrived() {
        Bytes got(70000);
        const ssize_t length = ::read(ends[1], got.data(), got.size());
        got.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
        return got;
    }
    /// Each packet that has a good result has arrived, in its order, and no other.
    std::size_t check() {
        std::size_t good = 0;
        for (std::size_t i = 0; i < packets.size(); ++i) {
            if (packets[i].result >= 0) {
                EXPECT_EQ(packets[i].result, static_cast<ssize_t>(bytes[i].size())) << i;
                EXPECT_EQ(arrived(), bytes[i]) << i;
                ++good;
            }
        }
        EXPECT_TRUE(arrived().empty());
        return good;
    }
};

TEST_F(PacketRingTest, PacketsGoInTheirOrder) {
    PacketRing ring;
    for (const std::size_t count : {1u, 2u, 63u, 64u, 65u, 200u}) {
        make(count, 100);
        ring.send(ends[0], packets);
        EXPECT_EQ(check(), count);
    }
    make(0, 100);
    ring.send(ends[0], packets);
    EXPECT_TRUE(arrived().empty());
    EXPECT_TRUE(ring.open());
}

TEST_F(PacketRingTest, AFullTapLosesPacketsAndSendsNoneLater) {
    PacketRing ring;
    const int small = 4096;
    ASSERT_EQ(::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    for (int round = 0; round < 20; ++round) {
        make(64, 1000);
        ring.send(ends[0], packets);
        EXPECT_EQ(packets.back().result, -EAGAIN);
        const std::size_t good = check(); // makes room again: nothing may use it
        EXPECT_GT(good, 0u);
        EXPECT_LT(good, 64u);
    }
    EXPECT_TRUE(ring.open());
}

TEST_F(PacketRingTest, APacketThatIsRefusedDoesNotHoldUpTheOthers) {
    PacketRing ring;
    make(10, 100);
    parts[4][0] = {reinterpret_cast<void*>(8), 100}; // nobody's memory
    packets[7].pieces = std::span<const iovec>(parts[7]).first(1);
    parts[7][0].iov_len = 1 << 30; // longer than a packet can be
    ring.send(ends[0], packets);
    EXPECT_EQ(packets[4].result, -EFAULT);
    EXPECT_LT(packets[7].result, 0);
    EXPECT_EQ(check(), 8u);
}

TEST_F(PacketRingTest, ADeadTapIsSaidOfEachPacket) {
    PacketRing ring;
    make(5, 100);
    ring.send(-1, packets);
    for (const Outgoing& packet : packets) {
        EXPECT_EQ(packet.result, -EBADF);
    }
    make(5, 100);
    ring.send(ends[0], packets);
    EXPECT_EQ(check(), 5u) << "the next ones go";
}

// What a tap does is the same with a ring and without; a closed ring leaves all packets to the tap.
TEST_F(PacketRingTest, ATapWithoutARingSendsOneByOne) {
    PacketRing ring;
    ring.close();
    make(3, 100);
    ring.send(ends[0], packets);
    for (const Outgoing& packet : packets) {
        EXPECT_EQ(packet.result, PacketRing::not_sent);
    }
    EXPECT_TRUE(arrived().empty());
    // Now the limit of descriptors leaves none for a ring.
    const pid_t child = ::fork();
    if (child == 0) {
        boost::asio::io_context context;
        const boost::asio::posix::stream_descriptor first(context); // Asio opens its own descriptors with it
        rlimit files{};
        ::getrlimit(RLIMIT_NOFILE, &files);
        const int tap_end = ::dup(ends[0]);
        const rlimit none{.rlim_cur = static_cast<rlim_t>(tap_end) + 1, .rlim_max = files.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &none);
        Tap tap(context.get_executor(), tap_end);
        const bool opened = PacketRing().open();
        ::setrlimit(RLIMIT_NOFILE, &files); // the sanitizers take descriptors, too
        if (opened) {
            ::_exit(1);
        }
        tap.send(packets);
        ::_exit(packets[0].result == 100 && packets[2].result == 100 ? 0 : 2);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    for (Outgoing& packet : packets) {
        packet.result = 100; // as the child saw them
    }
    EXPECT_EQ(check(), 3u);
}

} // namespace
} // namespace domus::net::test
