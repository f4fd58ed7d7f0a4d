// The echo device of docs/writing-a-driver.md, both halves, and what happens to each when the other misbehaves.
#include "labs/echo/backend.hpp"
#include "labs/echo/frontend.hpp"
#include "tests/bus/bus.hpp"

#include <algorithm>
#include <cstring>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::bus {
namespace {

using echo::Echo;
using guest::Task;
using testing::HasSubstr;

// Connects, shouts each text, closes; says how far it came.
struct Talk {
    std::vector<std::string> texts{"hello, bus"}, heard;
    std::string stage = "none";
    Err error{};

    Task<Result<void>> all(guest::Kit& kit) {
        CO_LET(id, co_await guest::Frontend::find(kit, echo::frontend_kind));
        Echo device(kit, id);
        stage = "connecting";
        CO_CHECK(co_await device.connect());
        stage = "connected";
        for (auto text : texts) {
            CO_CHECK(co_await device.shout(text));
            heard.push_back(text);
        }
        stage = "closing";
        CO_CHECK(co_await device.close());
        stage = "closed";
        co_return Result<void>();
    }
    Task<void> run(guest::Kit& kit) {
        const auto result = co_await all(kit);
        error = result.error();
        ended = true;
    }
    bool ended = false;
};

struct EchoTest : testing::Test {
    Bus bus;
    Guest* guest = &bus.boot();
    backend::DeviceId id = bus.plug(*guest, echo::frontend_kind, echo::backend_type, 0);
    std::string front = "/local/domain/1/device/echo/0";

    backend::Device& serve() {
        return bus.serve(id, [](auto& device) { return std::make_unique<echo::EchoDriver>(device); });
    }
    // A frontend that is not ours: it publishes this ring and this port and says Initialised.
    void publish(std::uint32_t ring, std::uint32_t port) {
        bus.write(front + "/ring-ref", std::to_string(ring));
        bus.write(front + "/event-channel", std::to_string(port));
        bus.write(front + "/state", "3");
        bus.settle();
    }
    std::string state() { return bus.read(id.path() + "/state").value_or("none"); }
    std::string reason() { return bus.read(id.error_path()).value_or("none"); }
};

TEST_F(EchoTest, BothHalvesTalk) {
    serve();
    Talk talk;
    talk.texts = {"hello, bus", "", "Zürich 42", std::string(page_size, 'x')};
    guest->start(talk.run(guest->kit()));
    ASSERT_TRUE(bus.until([&] { return talk.ended; })) << talk.stage;
    EXPECT_EQ(talk.error, Err{}) << talk.stage;
    EXPECT_EQ(talk.heard, (std::vector<std::string>{"HELLO, BUS", "", "ZüRICH 42", std::string(page_size, 'X')}));
    EXPECT_EQ(guest->kit().grants.lent(), 0u);
    EXPECT_EQ(bus.grants().mapped(), 0u);
}

TEST(EchoAlone, EachRunIsTheSame) {
    std::vector<std::string> first;
    for (int round = 0; round < 3; ++round) {
        Bus other;
        Guest& same = other.boot();
        const auto device = other.plug(same, echo::frontend_kind, echo::backend_type, 0);
        other.serve(device, [](auto& d) { return std::make_unique<echo::EchoDriver>(d); });
        Talk talk;
        same.start(talk.run(same.kit()));
        ASSERT_TRUE(other.until([&] { return talk.ended; }));
        if (round == 0)
            first = other.trace();
        EXPECT_EQ(other.trace(), first);
    }
    EXPECT_THAT(first, testing::Contains(HasSubstr("copy 10 bytes to domain 1's grant")));
}

TEST_F(EchoTest, AMapThatFailsClosesTheDeviceWithTheReason) {
    serve();
    bus.faults.refuse_maps = 1;
    Talk talk;
    guest->start(talk.run(guest->kit()));
    ASSERT_TRUE(bus.until([&] { return talk.ended; }));
    EXPECT_EQ(talk.stage, "connecting");
    EXPECT_EQ(talk.error, Err::NoDev);
    EXPECT_THAT(reason(), HasSubstr("map grant"));
    EXPECT_EQ(bus.grants().mapped(), 0u);
}

TEST_F(EchoTest, ACopyThatFailsIsOneFailedRequest) {
    serve();
    Talk talk;
    bus.faults.refuse_copies = 1;
    guest->start(talk.run(guest->kit()));
    ASSERT_TRUE(bus.until([&] { return talk.ended; }));
    EXPECT_EQ(talk.error, Err::Io);
    EXPECT_EQ(state(), "4") << "the device goes on";
}

TEST(EchoAlone, TheFrontendDiesAtEveryStep) {
    // A death after so many steps, until there are enough for the whole talk.
    for (unsigned deadline = 0;; deadline += 3) {
        Bus other;
        Guest& victim = other.boot();
        const auto device = other.plug(victim, echo::frontend_kind, echo::backend_type, 0);
        other.serve(device, [](auto& d) { return std::make_unique<echo::EchoDriver>(d); });
        Talk talk;
        victim.start(talk.run(victim.kit()));
        for (unsigned step = 0; step < deadline && !talk.ended; ++step)
            other.step();
        if (talk.ended)
            break;
        other.kill(victim);
        other.settle();
        other.unplug(device, echo::frontend_kind);
        other.settle();
        EXPECT_FALSE(other.serving()) << "after " << deadline << " steps at " << talk.stage;
        EXPECT_EQ(other.grants().mapped(), 0u) << "after " << deadline << " steps at " << talk.stage;
    } // ~Bus: no memory was lost
}

TEST_F(EchoTest, GarbageInTheRingClosesTheDevice) {
    serve();
    u8* page = guest->take_pages().value();
    const u32 reference = guest->kit().grants.lend(0, page).value();
    guest::Event event(guest->tasks);
    const u32 port = guest->open_port(0, event).value();
    bus.settle();
    publish(reference, port);
    ASSERT_EQ(state(), "4");
    *reinterpret_cast<u32*>(page) = 0x80000000; // req_prod
    guest->notify(port);
    bus.settle();
    EXPECT_THAT(reason(), HasSubstr("ran away"));
    EXPECT_NE(state(), "4");
    EXPECT_EQ(bus.grants().mapped(), 0u);
}

TEST_F(EchoTest, HostileRequestsAreRefusedOneByOne) {
    serve();
    u8* page = guest->take_pages().value();
    const u32 reference = guest->kit().grants.lend(0, page).value();
    guest::Event event(guest->tasks);
    const u32 port = guest->open_port(0, event).value();
    bus.settle();
    publish(reference, port);
    guest::FrontRing<echo::Request, echo::Response> ring(page, page_size);
    const u32 read_only = guest->kit().grants.lend(0, page, guest::Lend::ReadOnly).value();
    const echo::Request bad[] = {
        {1, 0xffffffff, 0, 8}, {2, 500, 0, 8},          {3, reference, 4095, 2}, {4, reference, 0xffff, 0xffff},
        {5, 0, 0, 8},          {6, reference, 4097, 0}, {7, read_only, 0, 8},
    };
    for (const auto& request : bad)
        ring.put(request);
    if (ring.push())
        guest->notify(port);
    bus.settle();
    unsigned answered = 0;
    while (const auto response = ring.take()) {
        EXPECT_EQ(response->id, ++answered);
        EXPECT_EQ(response->status, echo::failed) << response->id;
    }
    EXPECT_EQ(answered, std::size(bad));
    EXPECT_EQ(state(), "4");
}

TEST_F(EchoTest, NonsenseInTheStoreIsRefused) {
    serve();
    bus.settle();
    publish(7777, 9999); // neither a grant nor a port
    EXPECT_NE(reason(), "none");
    EXPECT_NE(state(), "4");
}

TEST_F(EchoTest, ABackendThatGoesTellsTheFrontend) {
    auto& device = serve();
    Talk talk;
    talk.texts.assign(1000, "again");
    guest->start(talk.run(guest->kit()));
    ASSERT_TRUE(bus.until([&] { return talk.heard.size() == 10; }));
    device.fail("the disk burnt down");
    ASSERT_TRUE(bus.until([&] { return talk.ended; }));
    EXPECT_EQ(talk.error, Err::NoDev);
    EXPECT_THAT(reason(), HasSubstr("burnt down"));
}

} // namespace
} // namespace domus::bus
