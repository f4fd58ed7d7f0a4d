// A create that fails, wherever it may be, leaves nothing behind and tells why.
#include <utility>

#include "tests/unit/toolstack/fake/world.hpp"

#include "toolstack/model/disk.hpp"
#include "toolstack/model/vif.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::engine::test {
namespace {

using testing::HasSubstr;

model::Domain rich_guest(const World& world) {
    std::vector<std::string> warnings;
    model::Domain config = world.guest("web");
    config.cpu_weight = 300;
    config.tsc_mode = model::TscMode::Native;
    config.disks.push_back(model::parse_disk("/dev/vg/c,raw,xvdb,ro", warnings));
    config.vifs.push_back(
        model::parse_vif("mac=00:16:3e:00:00:02,vifname=web1,bridge=xenbr1,backendtype=linux", warnings));
    config.vifs.push_back(model::parse_vif("mac=00:16:3e:00:00:03,bridge=ovs0.10", warnings));
    return config;
}

// Each call into hypervisor, host, builder and records and each request to xenstore fails once, in its turn.
TEST(CreateFails, AtAnyStepNothingIsLeftBehind) {
    World world;
    const model::Domain config = rich_guest(world);
    const auto before = world.traces();
    unsigned failed = 0;
    for (unsigned step = 1;; ++step) {
        world.faults.arm(step);
        const std::string message = world.failure(world.engine->create(config, false, {}));
        if (world.faults.failed().empty())
            break; // it has fewer steps
        const std::string where = fmt::format("step {}: {}", step, world.faults.failed());
        world.faults.disarm();
        if (message.empty()) { // what failed was not needed
            world.run(world.engine->destroy(world.hypervisor.domains().back().domid));
        } else {
            ++failed;
            const bool names_itself = !world.faults.failed().starts_with("xenstore");
            if (names_itself) {
                EXPECT_THAT(message, HasSubstr(world.faults.failed())) << where;
            }
        }
        ASSERT_EQ(world.traces(), before) << where;
        ASSERT_EQ(world.host.waited_for_itself, 0u) << where << ": domusd waited for a disk that it held itself";
    }
    EXPECT_GT(failed, 200u);
    EXPECT_THAT(world.log(), testing::Not(HasSubstr("[error]")));
    EXPECT_THAT(world.log(), testing::Not(HasSubstr("[warning]")));
}

TEST(CreateFails, WhatTheBuilderSaysReachesTheUser) {
    World world;
    const auto before = world.traces();
    world.builder.meanwhile = []() -> asio::awaitable<void> {
        throw std::runtime_error("the kernel is no ELF");
        co_return;
    };
    EXPECT_EQ(world.failure(world.engine->create(world.guest("web"), false, {})), "the kernel is no ELF");
    EXPECT_EQ(world.traces(), before);
}

TEST(CreateFails, NoDriverTakesTheDevice) {
    Patience patience;
    patience.backend = std::chrono::milliseconds(20);
    World world(patience);
    world.kernel->takes_devices = false;
    const auto before = world.traces();
    EXPECT_THAT(world.failure(world.engine->create(world.guest("web"), false, {})),
                HasSubstr("dom0's driver for vbd devices did not take /local/domain/0/backend/vbd/1/51712"));
    EXPECT_EQ(world.traces(), before);
}

TEST(CreateFails, OurNetworkBackendDoesNotAnswer) {
    Patience patience;
    patience.backend = std::chrono::milliseconds(20);
    World world(patience);
    world.kernel->takes_devices = false;
    const auto before = world.traces();
    auto guest = world.guest("web");
    guest.disks.clear();
    guest.vifs[0].backend = model::Backend::User;
    EXPECT_THAT(world.failure(world.engine->create(guest, false, {})), HasSubstr("is domus-netd running?"));
    EXPECT_EQ(world.traces(), before);
}

TEST(CreateFails, TheDriverCannotOpenTheDisk) {
    Patience patience;
    patience.backend = std::chrono::milliseconds(200);
    World world(patience);
    world.kernel->opens_disks = false;
    world.store->write("/local/domain/0/error/backend/vbd/1/51712/error", "16 opening");
    world.store->remove("/local/domain/0/error");
    const auto before = world.traces();
    EXPECT_THAT(world.failure(world.engine->create(world.guest("web"), false, {})),
                HasSubstr("did not open /dev/loop1"));
    EXPECT_EQ(world.traces(), before);
    EXPECT_EQ(world.host.waited_for_itself, 0u);
}

// The name asked for belongs to somebody else: their interface must not be waited for, nor be thought ours.
TEST(CreateFails, TheInterfacesNameIsTaken) {
    World world;
    world.host.interfaces.insert("web1");
    const auto before = world.traces();
    EXPECT_THAT(world.failure(world.engine->create(rich_guest(world), false, {})),
                HasSubstr("dom0 has an interface web1 already"));
    EXPECT_EQ(world.traces(), before);
    EXPECT_THAT(world.log(), testing::Not(HasSubstr("still has the interface")));
}

TEST(CreateFails, TheGuestIsDestroyedWhileItIsMade) {
    World world;
    const auto before = world.traces();
    world.builder.meanwhile = [&]() -> asio::awaitable<void> {
        const auto domid = co_await world.engine->resolve("web");
        co_await world.engine->destroy(domid);
    };
    EXPECT_NE(world.failure(world.engine->create(world.guest("web"), false, {})), "");
    EXPECT_EQ(world.traces(), before);
}

} // namespace
} // namespace domus::engine::test
