// What happens when guests end, and when domusd is started again.
#include <utility>

#include "tests/unit/toolstack/fake/world.hpp"

#include "toolstack/model/uuid.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::engine::test {
namespace {

using client::ShutdownReason;
using model::Action;
using testing::HasSubstr;

struct LifecycleTest : testing::Test {
    World world;
    model::Domain config = world.guest("web");
    std::map<std::string, std::string> empty = world.traces();

    /// Lets the guest end and the engine act on it.
    void end(std::uint16_t domid, ShutdownReason reason) {
        world.end(domid, reason);
        world.run(world.engine->check_domains());
    }
    std::string name_of(std::uint16_t domid) const {
        return world.store->read(fmt::format("/local/domain/{}/name", domid)).value_or("(absent)");
    }
    bool runs(std::uint16_t domid) {
        const auto info = world.hypervisor.domain_info(domid);
        return info && !info->shutdown && !info->paused;
    }
};

TEST_F(LifecycleTest, EachReasonHasItsAction) {
    config.on_poweroff = Action::Destroy;
    config.on_reboot = Action::Restart;
    config.on_crash = Action::Preserve;
    config.on_watchdog = Action::Destroy;
    world.create(config);
    end(1, ShutdownReason::reboot);
    EXPECT_FALSE(world.hypervisor.domain_info(1));
    EXPECT_TRUE(runs(2));
    end(2, ShutdownReason::crash);
    EXPECT_TRUE(world.hypervisor.domain_info(2)) << "kept";
    world.run(world.engine->destroy(2));
    EXPECT_EQ(world.traces(), empty);
    world.create(config);
    end(3, ShutdownReason::watchdog);
    EXPECT_EQ(world.traces(), empty);
    world.create(config);
    end(4, ShutdownReason::poweroff);
    EXPECT_EQ(world.traces(), empty);
}

TEST_F(LifecycleTest, ReasonsWithoutAnActionOfTheirOwn) {
    config.on_crash = Action::Preserve;
    world.create(config);
    end(1, ShutdownReason::suspend);
    EXPECT_EQ(world.traces(), empty) << "nothing could resume it";
    world.create(config);
    end(2, ShutdownReason::soft_reset);
    EXPECT_TRUE(world.hypervisor.domain_info(2)) << "as a crash";
    EXPECT_THAT(world.log(), HasSubstr("soft reset, which is not supported"));
}

TEST_F(LifecycleTest, ARestartedGuestIsTheSame) {
    config.vifs[0].mac.reset();
    world.create(config);
    const auto uuid = world.hypervisor.domain_info(1)->uuid;
    const auto mac = world.store->read("/local/domain/1/device/vif/0/mac");
    end(1, ShutdownReason::reboot);
    EXPECT_EQ(world.hypervisor.domain_info(2)->uuid, uuid);
    EXPECT_EQ(world.store->read("/local/domain/2/device/vif/0/mac"), mac);
    EXPECT_EQ(name_of(2), "web");
    EXPECT_EQ(world.records.kept.size(), 1u);
}

TEST_F(LifecycleTest, DevicesAttachedLaterAreThereAgain) {
    world.create(config);
    model::Disk more = config.disks[0];
    more.target = "/srv/b.img";
    more.vdev = "xvdb";
    world.run(world.engine->attach_disk(1, more));
    end(1, ShutdownReason::reboot);
    EXPECT_EQ(world.run(world.engine->blocks().list(2)).size(), 2u);
}

TEST_F(LifecycleTest, RenameRestartKeepsTheOldOneWithoutItsDevices) {
    config.on_crash = Action::RenameRestart;
    world.create(config);
    end(1, ShutdownReason::crash);
    EXPECT_EQ(name_of(1), "web-20231114T221320Z");
    EXPECT_EQ(name_of(2), "web");
    EXPECT_TRUE(runs(2));
    EXPECT_NE(world.hypervisor.domain_info(1)->uuid, world.hypervisor.domain_info(2)->uuid);
    EXPECT_TRUE(world.run(world.engine->blocks().list(1)).empty());
    EXPECT_EQ(world.run(world.engine->blocks().list(2)).size(), 1u);
    world.run(world.engine->check_domains());
    EXPECT_EQ(world.hypervisor.domains().size(), 3u) << "the kept one is not acted on again";
}

TEST_F(LifecycleTest, EndlessRestartsEnd) {
    world.create(config);
    std::uint16_t domid = 1;
    for (; domid <= 10; ++domid) {
        world.host.clock += 5;
        end(domid, ShutdownReason::reboot);
        ASSERT_TRUE(runs(domid + 1)) << domid;
    }
    world.host.clock += 5;
    end(domid, ShutdownReason::reboot);
    EXPECT_EQ(world.traces(), empty);
    EXPECT_THAT(world.log(), HasSubstr("10 times within 60 s"));
}

TEST_F(LifecycleTest, SlowRestartsGoOn) {
    world.create(config);
    for (std::uint16_t domid = 1; domid <= 15; ++domid) {
        world.host.clock += 7; // nine in any 60 s
        end(domid, ShutdownReason::reboot);
        ASSERT_TRUE(runs(domid + 1)) << domid;
    }
}

TEST_F(LifecycleTest, ARestartThatFailsIsToldAndLeavesNothing) {
    world.create(config);
    world.host.files.erase("/boot/vmlinuz");
    end(1, ShutdownReason::reboot);
    EXPECT_EQ(world.traces(), empty);
    EXPECT_THAT(world.log(), HasSubstr("web: kernel /boot/vmlinuz cannot be read"));
}

TEST_F(LifecycleTest, AGuestDestroyedBehindOurBackIsCleanedUp) {
    world.create(config);
    world.hypervisor.destroy_domain(1);
    world.announce_domains();
    world.run(world.engine->check_domains());
    EXPECT_EQ(world.traces(), empty);
}

TEST_F(LifecycleTest, ANewDomusdTakesOver) {
    world.create(config);
    model::Domain other = world.guest("db");
    other.disks.clear();
    other.vifs.clear();
    world.create(other);
    world.hypervisor.end(2, ShutdownReason::poweroff); // while nobody looked
    world.engine = std::make_unique<Engine>(
        Services{world.hypervisor, *world.client, world.host, world.builder, world.records, {}});
    world.run(world.engine->start());
    EXPECT_TRUE(runs(1));
    EXPECT_FALSE(world.hypervisor.domain_info(2));
    end(1, ShutdownReason::reboot);
    EXPECT_TRUE(runs(3)) << "its configuration is still known";
}

TEST_F(LifecycleTest, ANewDomusdTakesBackWhatIsHalfMade) {
    world.builder.meanwhile = [&]() -> asio::awaitable<void> {
        // The old domusd dies here: what it had made so far is looked at by a new one.
        Engine fresh(Services{world.hypervisor, *world.client, world.host, world.builder, world.records, {}});
        co_await fresh.start();
        EXPECT_EQ(world.traces(), empty);
    };
    EXPECT_NE(world.failure(world.engine->create(config, false, {})), "");
    EXPECT_THAT(world.log(), HasSubstr("web was left half-made"));
}

TEST_F(LifecycleTest, ARecordWithoutADomainIsForgotten) {
    Record record;
    record.config = config;
    record.config.uuid = model::make_uuid();
    record.building = true; // domusd died before it asked for a domain
    world.records.save(record);
    world.run(world.engine->start());
    EXPECT_EQ(world.traces(), empty);
}

// Dom0's UUID is all zeros: no record may ever be taken for it.
TEST_F(LifecycleTest, Domain0IsNeverTakenBack) {
    Record record;
    record.config = config;
    record.config.uuid = model::Uuid{};
    record.building = true;
    world.records.save(record);
    world.run(world.engine->start());
    EXPECT_TRUE(world.hypervisor.domain_info(0));
}

} // namespace
} // namespace domus::engine::test
