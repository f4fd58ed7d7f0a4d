// domus-netd's device (backend-drivers/net) and guestkit's network card against each other; a socket pair is the
// bridge.
#include "backend-drivers/net/vif.hpp"
#include "frontend-drivers/guestkit/drivers/net.hpp"
#include "tests/bus/bus.hpp"

#include <cstdlib>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <numeric>
#include <sys/socket.h>

namespace domus::bus {
namespace {

using guest::NetworkCard;
using guest::Task;
using Bytes = std::vector<u8>;

struct Bridge final : net::Network {
    std::vector<net::Descriptor> ends; // one for each queue
    net::Descriptor make(const net::Interface& interface) override {
        ends.clear();
        return add_queue(interface.name);
    }
    net::Descriptor add_queue(const std::string&) override {
        int pair[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
            throw std::runtime_error("socketpair");
        ends.emplace_back(pair[0]);
        return net::Descriptor(pair[1]);
    }
    void carrier_on(int, const net::TapOffloads&) override {}

    // The next packet of any queue, with the tap's header before it.
    std::optional<std::pair<net::WireHeader, Bytes>> take() {
        Bytes bytes(70000);
        net::WireHeader head;
        for (const auto& end : ends) {
            const auto got = ::recv(end.get(), bytes.data(), bytes.size(), 0);
            if (got < static_cast<long>(sizeof head))
                continue;
            std::memcpy(&head, bytes.data(), sizeof head);
            return std::pair{head, Bytes(bytes.begin() + sizeof head, bytes.begin() + got)};
        }
        return {};
    }
    bool give(const net::WireHeader& head, const Bytes& bytes) {
        Bytes whole(sizeof head);
        std::memcpy(whole.data(), &head, sizeof head);
        whole.insert(whole.end(), bytes.begin(), bytes.end());
        const auto sent = ::send(ends.back().get(), whole.data(), whole.size(), 0);
        return sent == static_cast<ssize_t>(whole.size());
    }
};

// A frame to somebody, from the guest's address, of bytes that count up.
Bytes frame(usize length, u8 first) {
    Bytes bytes(length);
    std::iota(bytes.begin(), bytes.end(), first);
    const u8 head[] = {0x02, 1, 2, 3, 4, 5, 0x00, 0x16, 0x3e, 1, 2, 3, 0x88, 0xb5};
    std::copy(std::begin(head), std::end(head), bytes.begin());
    return bytes;
}

struct CardOnTheBus : testing::Test {
    Bridge bridge; // outlives the bus: its backend has the other end
    Bus bus;
    Guest* guest = &bus.boot();
    backend::DeviceId id = bus.plug(*guest, "vif", net::device_type, 0, {{"mac", "00:16:3e:01:02:03"}});
    std::string stage = "none";
    std::vector<Bytes> received;
    Err error{};
    u32 visits = 0;

    backend::Device* device = nullptr;

    CardOnTheBus() {
        bus.write("/local/domain/1/device/vif/0/mac", "00:16:3e:01:02:03");
        serve();
    }
    void serve() {
        device = &bus.serve(id, [this](auto& made) { return std::make_unique<net::Vif>(made, bridge, ""); });
    }
    // Sends so many frames, receives as many, closes.
    Task<Result<void>> talk(guest::Kit& kit, u32 frames) {
        CO_LET(number, co_await guest::Frontend::find(kit, "vif"));
        NetworkCard card(kit, number);
        CO_CHECK(co_await card.connect());
        stage = "connected";
        for (u32 i = 0; i < frames; ++i) {
            const Bytes out = frame(60 + i % 1455, static_cast<u8>(i));
            CO_CHECK(co_await card.send(out));
        }
        stage = "sent";
        Bytes in(NetworkCard::longest_frame);
        while (received.size() < frames) {
            CO_LET(length, co_await card.receive(in));
            received.emplace_back(in.begin(), in.begin() + static_cast<long>(length));
        }
        CO_CHECK(co_await card.close());
        stage = "closed";
        co_return Result<void>();
    }
    Task<void> run(guest::Kit& kit, u32 frames) {
        const auto result = co_await talk(kit, frames);
        error = result.error();
    }
    // The same card connects and closes so often, with one frame each way in between.
    Task<Result<void>> come_and_go(guest::Kit& kit, u32 times) {
        CO_LET(number, co_await guest::Frontend::find(kit, "vif"));
        NetworkCard card(kit, number);
        Bytes in(NetworkCard::longest_frame);
        while (visits < times) {
            CO_CHECK(co_await card.connect());
            CO_CHECK(co_await card.send(frame(60, 0)));
            CO_CHECK(co_await card.receive(in));
            CO_CHECK(co_await card.close());
            ++visits;
        }
        co_return Result<void>();
    }
    Task<void> run_often(guest::Kit& kit, u32 times) {
        const auto result = co_await come_and_go(kit, times);
        error = result.error();
    }
    // The same with a card made anew each time.
    Task<void> run_new_ones(guest::Kit& kit, u32 times) {
        while (visits < times && error == Err{}) {
            received.clear();
            co_await run(kit, 0);
            ++visits;
        }
    }
    // What came over the bridge, without the tap's header.
    std::optional<Bytes> at_bridge() {
        const auto got = bridge.take();
        if (!got)
            return {};
        return got->second;
    }
    bool to_guest(const Bytes& bytes) { return bridge.give({}, bytes); }
};

// A TCP packet of which nothing was done that can be left to others.
Bytes tcp(bool ipv6, usize data) {
    const usize headers = ipv6 ? 74 : 54;
    Bytes bytes = frame(headers + data, 7);
    const auto length = static_cast<u16>(headers + data - (ipv6 ? 54 : 14));
    const auto word = [&](usize at, u16 value) {
        bytes[at] = static_cast<u8>(value >> 8);
        bytes[at + 1] = static_cast<u8>(value);
    };
    word(12, ipv6 ? 0x86dd : 0x0800);
    if (ipv6) {
        bytes[14] = 0x60;
        word(18, length);
        bytes[20] = 6;
    } else {
        bytes[14] = 0x45;
        word(16, length);
        word(20, 0);
        bytes[23] = 6;
    }
    bytes[headers - 8] = 0x50;
    return bytes;
}

// With offloads: sends what it is told, and keeps what comes with what is said of it.
struct CardWithOffloads : CardOnTheBus {
    std::optional<NetworkCard> card;
    std::vector<guest::Offload> said;
    unsigned sent = 0;
    bool stop = false;

    bool up(guest::CardWishes wishes) {
        guest->start(serve_guest(guest->kit(), wishes));
        return bus.until([&] { return stage != "none"; }) && stage == "connected";
    }
    Task<void> serve_guest(guest::Kit& kit, guest::CardWishes wishes) {
        card.emplace(kit, 0, wishes);
        const auto connected = co_await card->connect();
        error = connected.error();
        stage = connected ? "connected" : "refused";
        Bytes in(NetworkCard::longest_large_frame);
        while (connected) {
            guest::Offload how;
            const auto length = co_await card->receive(in, how);
            if (!length)
                break;
            received.emplace_back(in.begin(), in.begin() + static_cast<long>(length.value()));
            said.push_back(how);
        }
        const auto closed = co_await card->close();
        error = closed.error();
        stage = "closed";
    }
    Task<void> send(Bytes bytes, guest::Offload how) {
        const auto done = co_await card->send(bytes, how);
        error = done.error();
        ++sent;
    }
    bool ends() {
        device->fail("the end of the test");
        return bus.until([&] { return stage == "closed"; });
    }
};

TEST_F(CardWithOffloads, LargePacketsGoOutToBeCut) {
    ASSERT_TRUE(up({1, true}));
    for (const bool ipv6 : {false, true}) {
        const Bytes out = tcp(ipv6, 60000);
        guest->start(send(out, {.segment = 1400, .ipv6 = ipv6, .checksum_blank = true}));
        std::optional<std::pair<net::WireHeader, Bytes>> got;
        ASSERT_TRUE(bus.until([&] { return (got = bridge.take()).has_value(); })) << static_cast<int>(error);
        EXPECT_EQ(got->first.gso_type, ipv6 ? net::wire::gso_tcp6 : net::wire::gso_tcp4);
        EXPECT_EQ(got->first.gso_size, 1400);
        EXPECT_EQ(got->first.flags, net::wire::needs_checksum);
        EXPECT_EQ(got->first.csum_start, ipv6 ? 54 : 34);
        EXPECT_EQ(got->second, out);
    }
    // What needs no cutting, but a checksum; and a large one that needs nothing.
    const Bytes small = tcp(false, 100);
    guest->start(send(small, {.checksum_blank = true}));
    std::optional<std::pair<net::WireHeader, Bytes>> got;
    ASSERT_TRUE(bus.until([&] { return (got = bridge.take()).has_value(); }));
    EXPECT_EQ(got->first.flags, net::wire::needs_checksum);
    EXPECT_EQ(got->first.gso_type, net::wire::gso_none);
    EXPECT_EQ(got->second, small);
    EXPECT_TRUE(ends());
    EXPECT_EQ(guest->kit().grants.lent(), 0u);
}

TEST_F(CardWithOffloads, LargePacketsComeInUncut) {
    ASSERT_TRUE(up({1, true}));
    for (unsigned i = 0; i < 40; ++i) { // several times around the buffers
        const bool ipv6 = i % 2 == 1;
        const Bytes out = tcp(ipv6, 60000 - i);
        const auto headers = static_cast<u16>(ipv6 ? 74 : 54);
        ASSERT_TRUE(bridge.give({net::wire::needs_checksum, ipv6 ? net::wire::gso_tcp6 : net::wire::gso_tcp4, headers,
                                 1400, static_cast<u16>(headers - 20), 16},
                                out));
        ASSERT_TRUE(bus.until([&] { return received.size() == i + 1; }));
        EXPECT_EQ(received[i], out);
        EXPECT_TRUE(said[i].checksum_blank);
        EXPECT_EQ(said[i].segment, 1400);
        EXPECT_EQ(said[i].ipv6, ipv6);
    }
    ASSERT_TRUE(to_guest(frame(1514, 3)));
    ASSERT_TRUE(bus.until([&] { return received.size() == 41; }));
    EXPECT_EQ(received[40], frame(1514, 3));
    EXPECT_EQ(said[40].segment, 0);
    EXPECT_EQ(card->dropped(), 0u);
    EXPECT_TRUE(ends());
    EXPECT_EQ(guest->kit().grants.lent(), 0u);
}

TEST_F(CardWithOffloads, TwoQueuesCarryFlowsInTheirOrder) {
    ASSERT_TRUE(up({2, true}));
    EXPECT_EQ(card->queues(), 2u);
    EXPECT_EQ(guest->kit().platform.tasks.idle(), true);
    for (unsigned i = 0; i < 200; ++i)
        guest->start(send(frame(64 + i, static_cast<u8>(i)), {}));
    EXPECT_TRUE(bus.until([&] { return sent == 200; }));
    EXPECT_EQ(error, Err{});
    EXPECT_TRUE(ends());
    EXPECT_EQ(guest->kit().grants.lent(), 0u);
}

// Both queues' buffers, their rings and the control ring.
TEST_F(CardWithOffloads, AllBuffersStayMappedAndNothingIsCopiedByGrant) {
    ASSERT_TRUE(up({2, true}));
    ASSERT_TRUE(bus.until([&] { return bus.grants().mapped() == 2 * 64 + 2 * 2 + 1; })) << bus.grants().mapped();
    bus.faults.refuse_copies = 1000;
    const Bytes large = tcp(false, 60000), small = frame(60, 3);
    guest->start(send(large, {.segment = 1400, .checksum_blank = true}));
    guest->start(send(small, {}));
    std::vector<Bytes> out;
    ASSERT_TRUE(bus.until([&] {
        while (const auto got = at_bridge())
            out.push_back(*got);
        return out.size() == 2;
    })) << out.size();
    EXPECT_THAT(out, testing::UnorderedElementsAre(large, small));
    ASSERT_TRUE(to_guest(small));
    ASSERT_TRUE(bus.until([&] { return received.size() == 1; }));
    EXPECT_EQ(received[0], small);
    EXPECT_EQ(bus.faults.refuse_copies, 1000u);
    bus.faults.refuse_copies = 0;
    EXPECT_TRUE(ends());
    EXPECT_EQ(guest->kit().grants.lent(), 0u);
    EXPECT_EQ(bus.grants().mapped(), 0u);
}

TEST_F(CardWithOffloads, WithoutMappedPagesAllIsCopiedAsEver) {
    ASSERT_TRUE(up({.queues = 1, .offloads = true, .mapped = false}));
    bus.settle();
    EXPECT_EQ(bus.grants().mapped(), 2u);
    const Bytes small = frame(60, 3);
    ASSERT_TRUE(to_guest(small));
    ASSERT_TRUE(bus.until([&] { return received.size() == 1; }));
    EXPECT_EQ(received[0], small);
    EXPECT_TRUE(ends());
}

TEST_F(CardWithOffloads, WithoutOffloadsNothingIsLeftToOthers) {
    ASSERT_TRUE(up({1, false}));
    guest->start(send(tcp(false, 100), {.checksum_blank = true}));
    EXPECT_TRUE(bus.until([&] { return sent == 1; }));
    EXPECT_EQ(error, Err::OpNotSupp);
    guest->start(send(tcp(false, 2000), {}));
    EXPECT_TRUE(bus.until([&] { return sent == 2; }));
    EXPECT_EQ(error, Err::Inval);
    EXPECT_TRUE(ends());
}

TEST_F(CardWithOffloads, ItConnectsAgainAndAgain) {
    for (unsigned i = 0; i < 50; ++i) {
        stage = "none";
        ASSERT_TRUE(up({1 + i % 2, i % 3 != 0})) << i;
        const Bytes out = frame(1000, static_cast<u8>(i));
        guest->start(send(out, {}));
        if (i % 2 == 0) { // and else it ends under way
            ASSERT_TRUE(bus.until([&] { return at_bridge() == out; })) << i;
        }
        bus.faults.refuse_maps = i % 10 == 9 ? 1 : 0;
        ASSERT_TRUE(ends()) << i;
        bus.faults.refuse_maps = 0;
        EXPECT_EQ(guest->kit().grants.lent(), 0u);
        EXPECT_EQ(bus.grants().mapped(), 0u);
    }
}

// Garbage in the answers ends the card, and nothing else.
TEST_F(CardWithOffloads, ABackendThatLiesIsNotBelieved) {
    ASSERT_TRUE(up({1, true}));
    const auto reference = static_cast<u32>(std::stoul(*bus.read("/local/domain/1/device/vif/0/rx-ring-ref")));
    auto* ring = static_cast<u32*>(bus.grants().map(1, std::span(&reference, 1), true));
    const u32 before = ring[2];
    ASSERT_TRUE(to_guest(frame(200, 3)));
    EXPECT_TRUE(bus.until([&] { return ring[2] != before; }));
    ring[2] += 1000;
    EXPECT_TRUE(bus.until([&] { return stage == "closed"; }));
    bus.grants().unmap(ring, 1);
    EXPECT_TRUE(guest->said.find("broke the protocol") != std::string::npos);
}

TEST_F(CardOnTheBus, FramesGoBothWaysUnchanged) {
    constexpr u32 frames = 600; // more than twice around both rings
    guest->start(run(guest->kit(), frames));
    for (u32 i = 0; i < frames; ++i) {
        std::optional<Bytes> got;
        ASSERT_TRUE(bus.until([&] { return (got = at_bridge()).has_value(); })) << i << " " << stage;
        ASSERT_EQ(*got, frame(60 + i % 1455, static_cast<u8>(i))) << i;
    }
    for (u32 i = 0; i < frames; ++i) {
        ASSERT_TRUE(bus.until([&] { return to_guest(frame(60 + i % 1455, static_cast<u8>(i + 1))); }));
        bus.settle();
    }
    ASSERT_TRUE(bus.until([&] { return stage == "closed"; })) << stage << " " << received.size();
    for (u32 i = 0; i < frames; ++i)
        ASSERT_EQ(received[i], frame(60 + i % 1455, static_cast<u8>(i + 1))) << i;
    EXPECT_EQ(guest->kit().grants.lent(), 0u);
    EXPECT_EQ(bus.grants().mapped(), 0u);
}

// Each time with rings, event channels and a tap device of its own, and with all buffers mapped; nothing may be left of
// any.
// With DOMUS_LONG=1 (`make test-long`) a thousand times.
TEST_F(CardOnTheBus, AFrontendComesBackManyTimes) {
    const u32 times = std::getenv("DOMUS_LONG") ? 1000 : 50;
    guest->start(run_often(guest->kit(), times));
    for (u32 i = 0; i < times; ++i) {
        std::optional<Bytes> got;
        ASSERT_TRUE(bus.until([&] { return (got = at_bridge()).has_value(); })) << i << " " << static_cast<int>(error);
        ASSERT_EQ(*got, frame(60, 0)) << i;
        ASSERT_TRUE(bus.until([&] { return bus.grants().mapped() == 2 * 64 + 3; }))
            << i << " " << bus.grants().mapped();
        ASSERT_TRUE(to_guest(frame(100, 1)));
        ASSERT_TRUE(bus.until([&] { return visits == i + 1; })) << i << " " << static_cast<int>(error);
        ASSERT_EQ(guest->kit().grants.lent(), 0u) << i;
        ASSERT_EQ(bus.grants().mapped(), 0u) << i;
    }
}

// The store allows a guest 128 watches: a card that is closed may keep none.
TEST_F(CardOnTheBus, AFrontendThatIsClosedWatchesNothing) {
    constexpr u32 times = 200;
    guest->start(run_new_ones(guest->kit(), times));
    ASSERT_TRUE(bus.until([&] { return visits == times; })) << visits << " " << static_cast<int>(error);
    EXPECT_EQ(error, Err{}) << stage;
}

TEST_F(CardOnTheBus, TheGuestDiesUnderTraffic) {
    guest->start(run(guest->kit(), 100));
    ASSERT_TRUE(bus.until([&] { return at_bridge().has_value(); })) << stage;
    bus.kill(*guest);
    to_guest(frame(100, 1));
    bus.settle();
    bus.unplug(id, "vif");
    bus.settle();
    EXPECT_FALSE(bus.serving());
    EXPECT_EQ(bus.grants().mapped(), 0u);
}

TEST_F(CardOnTheBus, UnpluggedUnderTrafficItEndsWithAnError) {
    guest->start(run(guest->kit(), 100));
    ASSERT_TRUE(bus.until([&] { return at_bridge().has_value(); })) << stage;
    bus.unplug(id, "vif");
    bus.settle();
    EXPECT_EQ(error, Err::NoDev) << stage;
    EXPECT_FALSE(bus.serving());
}

} // namespace
} // namespace domus::bus
