// Creating a guest: what it consists of afterwards, and what is refused before anything is made.
#include <utility>

#include "tests/unit/toolstack/fake/world.hpp"

#include "toolstack/model/disk.hpp"
#include "toolstack/model/uuid.hpp"
#include "toolstack/model/vif.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::engine::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct CreateTest : testing::Test {
    World world;
    model::Domain config = world.guest("web");

    std::string refused(const model::Domain& asked) { return world.failure(world.engine->create(asked, false, {})); }
    /// Of Linux's backend, which needs more care (loop devices), unless `spec` says otherwise.
    static model::Disk disk(const std::string& spec) {
        std::vector<std::string> warnings;
        const bool says = spec.find("backendtype=") != std::string::npos;
        return model::parse_disk(says ? spec : spec + ",backendtype=linux", warnings);
    }
    static model::Vif vif(const std::string& spec) {
        std::vector<std::string> warnings;
        const bool says = spec.find("backendtype=") != std::string::npos;
        return model::parse_vif(says ? spec : spec + ",backendtype=linux", warnings);
    }
    std::string node(const std::string& path) const { return world.store->read(path).value_or("(absent)"); }
};

TEST_F(CreateTest, TheGuestRunsWithItsDevices) {
    config.memory_kib = config.max_memory_kib = 256 * 1024;
    config.max_vcpus = 2;
    config.cpu_weight = 300;
    config.tsc_mode = model::TscMode::Native;
    std::vector<std::string> stages;
    const Progress note = [&](std::string_view stage) { stages.emplace_back(stage); };
    const Created made = world.run(world.engine->create(config, false, note));

    const FakeDomain& domain = world.hypervisor.domains_by_id.at(made.domid);
    EXPECT_FALSE(domain.info.paused);
    EXPECT_EQ(domain.info.pages, 65536u);
    EXPECT_EQ(domain.max_kib, 256u * 1024 + 1024);
    EXPECT_EQ(domain.weight, 300u);
    EXPECT_TRUE(domain.tsc_native);
    EXPECT_EQ(world.builder.last.kernel_path, "/boot/vmlinuz");
    EXPECT_EQ(world.builder.last.ramdisk_path, "/boot/initrd");
    EXPECT_EQ(world.builder.last.vcpus, 2u);
    EXPECT_EQ(made.uuid, model::to_string(domain.info.uuid));
    EXPECT_EQ(node("/local/domain/1/name"), "web");
    EXPECT_EQ(node("/vm/" + made.uuid + "/image/cmdline"), "quiet");
    EXPECT_EQ(node("/local/domain/1/cpu/1/availability"), "offline");
    EXPECT_EQ(node("/local/domain/1/console/ring-ref"), "1001");
    EXPECT_TRUE(world.store->introduced(made.domid));
    EXPECT_EQ(node("/local/domain/0/backend/vbd/1/51712/state"), "4");
    EXPECT_EQ(node("/local/domain/0/backend/vbd/1/51712/physical-device"), "7:1");
    EXPECT_EQ(node("/local/domain/1/device/vif/0/mac"), "00:16:3e:00:00:01");
    EXPECT_THAT(world.host.interfaces, testing::ElementsAre("vif1.0"));
    EXPECT_TRUE(world.host.held.empty()) << "the backend holds the disk now, not domusd";
    EXPECT_THAT(stages, testing::Contains(HasSubstr("attaching disk xvda")));
    const Record& record = world.records.kept.at(domain.info.uuid);
    EXPECT_EQ(record.domid, made.domid);
    EXPECT_FALSE(record.building);
}

TEST_F(CreateTest, TheGuestOwnsOnlyWhatItMustWrite) {
    const auto domid = world.create(config);
    const auto nodes = world.store->dump();
    for (const auto& [path, text] : nodes) {
        const bool guests = text.find(" n1") != std::string::npos;
        const bool expected =
            path.starts_with("/local/domain/1/device/vbd/51712") || path.starts_with("/local/domain/1/device/vif/0") ||
            path == "/local/domain/1/device/suspend/event-channel" ||
            path.starts_with("/local/domain/1/control/shutdown") ||
            path.starts_with("/local/domain/1/control/feature-") || path == "/local/domain/1/control/sysrq" ||
            path == "/local/domain/1/data" || path == "/local/domain/1/drivers" || path == "/local/domain/1/feature" ||
            path == "/local/domain/1/attr" || path == "/local/domain/1/error";
        EXPECT_EQ(guests, expected) << path << " =" << text;
    }
    EXPECT_EQ(domid, 1);
}

TEST_F(CreateTest, PausedMeansPaused) {
    world.run(world.engine->create(config, true, {}));
    EXPECT_TRUE(world.hypervisor.domains_by_id.at(1).info.paused);
}

TEST_F(CreateTest, ANameIsTakenOnce) {
    world.create(config);
    const std::string message = refused(config);
    EXPECT_EQ(message, "a guest called web is there already (domain 1); choose another name=, or end it first: domus "
                       "destroy web");
    EXPECT_EQ(world.hypervisor.domains_by_id.size(), 2u);
}

TEST_F(CreateTest, AUuidIsTakenOnce) {
    config.uuid = model::parse_uuid("00112233-4455-6677-8899-aabbccddeeff");
    world.create(config);
    config.name = "other";
    config.disks.clear();
    config.vifs.clear();
    EXPECT_THAT(refused(config), HasSubstr("belongs to web (domain 1) already; leave uuid= out"));
}

// While one is under way the hypervisor and the store do not know it yet.
TEST_F(CreateTest, TwoAtOnceCannotShareNameOrUuid) {
    config.uuid = model::parse_uuid("00112233-4455-6677-8899-aabbccddeeff");
    config.disks.clear();
    config.vifs.clear();
    std::string same_name, same_uuid;
    const auto try_create = [this](model::Domain asked, std::string& message) -> asio::awaitable<void> {
        try {
            co_await world.engine->create(std::move(asked), false, {});
        } catch (const std::exception& e) {
            message = e.what();
        }
    };
    world.builder.meanwhile = [&]() -> asio::awaitable<void> {
        model::Domain other = config;
        other.uuid.reset();
        co_await try_create(other, same_name);
        other = config;
        other.name = "other";
        co_await try_create(other, same_uuid);
    };
    world.create(config);
    EXPECT_THAT(same_name, HasSubstr("web"));
    EXPECT_THAT(same_uuid, HasSubstr("choose another uuid="));
    EXPECT_EQ(world.hypervisor.domains_by_id.size(), 2u);
}

TEST_F(CreateTest, TooLittleMemorySaysHowMuchIsNeededAndFree) {
    config.memory_kib = config.max_memory_kib = 1024 * 1024;
    EXPECT_THAT(refused(config), AllOf(HasSubstr("too little memory for web"),
                                       HasSubstr("1026 MiB is needed, 1024 MiB is free"), HasSubstr("lower memory=")));
    config.memory_kib = config.max_memory_kib = 1022 * 1024;
    EXPECT_EQ(refused(config), "");
}

TEST_F(CreateTest, AMemoryWishThatWrapsAroundIsTooMuch) {
    config.memory_kib = config.max_memory_kib = ~0ull;
    EXPECT_THAT(refused(config), HasSubstr("at most 16777216 MiB"));
}

TEST_F(CreateTest, ADiskInUseNamesItsUser) {
    world.create(config);
    model::Domain other = world.guest("db");
    other.vifs.clear();
    EXPECT_THAT(refused(other),
                HasSubstr("disk xvda: /srv/a.img is in use by web (domain 1) as xvda; detach it there (domus "
                          "block-detach 1 xvda)"));
    other.disks = {disk("/srv/link-to-a.img,raw,xvdb,ro")};
    EXPECT_THAT(refused(other), HasSubstr("is in use by web")) << "another path of the same file";
    other.disks = {disk("/srv/b.img,raw,xvdb,rw")};
    EXPECT_EQ(refused(other), "");
}

TEST_F(CreateTest, ReadersMayShareADisk) {
    config.disks = {disk("/srv/a.img,raw,xvda,ro")};
    world.create(config);
    model::Domain other = world.guest("db");
    other.vifs.clear();
    other.disks = {disk("/srv/a.img,raw,xvda,ro")};
    EXPECT_EQ(refused(other), "");
}

TEST_F(CreateTest, OneDiskTwiceInOneGuestIsRefusedBeforeAnythingIsMade) {
    config.disks.push_back(disk("/srv/link-to-a.img,raw,xvdb,rw"));
    EXPECT_THAT(refused(config), AllOf(HasSubstr("xvda"), HasSubstr("xvdb"), HasSubstr("/srv/link-to-a.img")));
    EXPECT_EQ(world.hypervisor.next_domid, 1) << "no domain was made";
}

TEST_F(CreateTest, MissingThingsAreNamedBeforeAnythingIsMade) {
    const auto without = [this](auto change) {
        model::Domain asked = config;
        change(asked);
        return refused(asked);
    };
    EXPECT_THAT(without([](auto& c) { c.kernel = "/boot/absent"; }), HasSubstr("kernel /boot/absent cannot be read"));
    EXPECT_THAT(without([](auto& c) { c.ramdisk = "/boot/absent"; }), HasSubstr("ramdisk /boot/absent"));
    EXPECT_THAT(without([](auto& c) { c.disks[0].target = "/srv/absent"; }), HasSubstr("/srv/absent is not there"));
    EXPECT_THAT(without([](auto& c) { c.vifs[0].bridge = "br7"; }), HasSubstr("no bridge br7"));
    EXPECT_THAT(without([](auto& c) { c.tsc_mode = model::TscMode::AlwaysEmulate; }), HasSubstr("use \"native\""));
    world.host.drivers = {"vif"};
    EXPECT_THAT(refused(config), HasSubstr("modprobe xen-blkback"));
    world.host.drivers = {"vbd"};
    EXPECT_THAT(refused(config), HasSubstr("modprobe xen-netback"));
    EXPECT_EQ(world.hypervisor.next_domid, 1) << "no domain was made";
}

TEST_F(CreateTest, AMacAddressIsTakenOncePerBridge) {
    world.create(config);
    model::Domain other = world.guest("db");
    other.disks.clear();
    EXPECT_THAT(refused(other), HasSubstr("00:16:3e:00:00:01 is in use by web (domain 1) on bridge xenbr0"));
    other.vifs = {vif("mac=00:16:3e:00:00:01,bridge=xenbr1"), vif(""), vif("")};
    EXPECT_EQ(refused(other), "");
    const auto& record = std::as_const(world.records.kept);
    for (const auto& [uuid, kept] : record)
        for (const auto& card : kept.config.vifs)
            EXPECT_TRUE(card.mac) << "a made-up address stays the guest's own";
}

} // namespace
} // namespace domus::engine::test
