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
    net::Descriptor end;
    net::Descriptor make(const net::Interface& interface) override { return add_queue(interface.name); }
    net::Descriptor add_queue(const std::string&) override {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
            throw std::runtime_error("socketpair");
        end = net::Descriptor(ends[0]);
        return net::Descriptor(ends[1]);
    }
    void carrier_on(int, const net::TapOffloads&) override {}
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

    CardOnTheBus() {
        bus.write("/local/domain/1/device/vif/0/mac", "00:16:3e:01:02:03");
        bus.serve(id, [this](auto& device) { return std::make_unique<net::Vif>(device, bridge, ""); });
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
    // What came over the bridge, without the tap's header.
    std::optional<Bytes> at_bridge() {
        Bytes bytes(70000);
        const auto got = ::recv(bridge.end.get(), bytes.data(), bytes.size(), 0);
        if (got < header)
            return {};
        return Bytes(bytes.begin() + header, bytes.begin() + got);
    }
    bool to_guest(const Bytes& bytes) {
        Bytes whole(header);
        whole.insert(whole.end(), bytes.begin(), bytes.end());
        return ::send(bridge.end.get(), whole.data(), whole.size(), 0) == static_cast<ssize_t>(whole.size());
    }
    static constexpr long header = sizeof(net::WireHeader);
};

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

// Each time with rings, event channels and a tap device of its own; nothing may be left of any.
// With DOMUS_LONG=1 (`make test-long`) a thousand times.
TEST_F(CardOnTheBus, AFrontendComesBackManyTimes) {
    const u32 times = std::getenv("DOMUS_LONG") ? 1000 : 50;
    guest->start(run_often(guest->kit(), times));
    for (u32 i = 0; i < times; ++i) {
        std::optional<Bytes> got;
        ASSERT_TRUE(bus.until([&] { return (got = at_bridge()).has_value(); })) << i << " " << static_cast<int>(error);
        ASSERT_EQ(*got, frame(60, 0)) << i;
        ASSERT_TRUE(to_guest(frame(100, 1)));
        ASSERT_TRUE(bus.until([&] { return visits == i + 1; })) << i << " " << static_cast<int>(error);
        ASSERT_EQ(guest->kit().grants.lent(), 0u) << i;
        ASSERT_EQ(bus.grants().mapped(), 0u) << i;
    }
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
