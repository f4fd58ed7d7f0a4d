// Disks and network cards of a running guest: attached, listed, detached, and kept for its next start.
#include <utility>

#include "tests/unit/toolstack/fake/world.hpp"

#include "toolstack/model/disk.hpp"
#include "toolstack/model/vif.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::engine::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Patience short_patience() {
    Patience patience;
    patience.guest = std::chrono::milliseconds(20);
    return patience;
}

struct DeviceTest : testing::Test {
    World world{short_patience()};
    std::uint16_t domid = world.create(world.guest("web"));
    std::map<std::string, std::string> before = world.traces();

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
    std::uint32_t attach(const model::Disk& asked) { return world.run(world.engine->attach_disk(domid, asked)); }
    std::uint32_t attach(const model::Vif& asked) { return world.run(world.engine->attach_vif(domid, asked)); }
    std::string detach(const std::string& kind, const std::string& device, bool force = false) {
        return world.failure(world.engine->detach(domid, kind, device, force));
    }
    const model::Domain& record() const { return world.records.kept.begin()->second.config; }
};

TEST_F(DeviceTest, ADiskComesAndGoes) {
    EXPECT_EQ(attach(disk("/srv/b.img,raw,xvdb,ro")), 51728u);
    ASSERT_EQ(record().disks.size(), 2u) << "it is there again after a restart";
    const auto disks = world.run(world.engine->blocks().list(domid));
    ASSERT_EQ(disks.size(), 2u);
    EXPECT_EQ(disks[1].vdev, "xvdb");
    EXPECT_EQ(disks[1].target, "/srv/b.img");
    EXPECT_TRUE(disks[1].read_only);
    EXPECT_EQ(disks[1].state, XenbusState::Connected);
    EXPECT_EQ(detach("vbd", "xvdb"), "");
    EXPECT_EQ(world.traces(), before);
    EXPECT_EQ(record().disks.size(), 1u);
}

TEST_F(DeviceTest, ADiskIsNamedByNumberToo) {
    attach(disk("/srv/b.img,raw,xvdq,rw"));
    EXPECT_EQ(detach("vbd", "268439552"), "");
    EXPECT_EQ(world.traces(), before);
}

TEST_F(DeviceTest, ACardComesAndGoes) {
    EXPECT_EQ(attach(vif("mac=00:16:3e:0a:0b:0c,vifname=web1")), 1u);
    EXPECT_TRUE(world.host.interfaces.contains("web1"));
    ASSERT_EQ(record().vifs.size(), 2u);
    EXPECT_EQ(record().vifs[1].devid, 1u);
    EXPECT_EQ(detach("vif", "1"), "");
    EXPECT_EQ(world.traces(), before);
    EXPECT_EQ(record().vifs.size(), 1u);
}

TEST_F(DeviceTest, ACardOfOurBackendComesAndGoes) {
    EXPECT_EQ(attach(vif("mac=00:16:3e:0a:0b:0c,vifname=web1,mtu=9000,backendtype=domus")), 1u);
    EXPECT_TRUE(world.host.interfaces.contains("web1"));
    const auto cards = world.run(world.engine->networks().list(domid));
    ASSERT_EQ(cards.size(), 2u);
    EXPECT_EQ(cards[1].backend, "/local/domain/0/backend/domus-vif/1/1");
    EXPECT_EQ(cards[1].state, XenbusState::Connected);
    EXPECT_EQ(world.store->read("/local/domain/1/device/vif/1/backend"), cards[1].backend);
    EXPECT_EQ(world.store->read(cards[1].backend + "/mtu"), "9000");
    EXPECT_FALSE(world.store->read(cards[1].backend + "/script"));
    EXPECT_THAT(world.failure(world.engine->attach_vif(domid, vif("mac=00:16:3e:0a:0b:0c"))), HasSubstr("is in use"));
    EXPECT_EQ(detach("vif", "00:16:3e:0a:0b:0c"), "");
    EXPECT_EQ(world.traces(), before);
    EXPECT_EQ(record().vifs.size(), 1u);
}

TEST_F(DeviceTest, ADiskOfOurBackendComesAndGoes) {
    attach(disk("/srv/b.img,raw,xvdb,rw,backendtype=domus"));
    const auto disks = world.run(world.engine->blocks().list(domid));
    ASSERT_EQ(disks.size(), 2u);
    EXPECT_EQ(disks[1].backend, "/local/domain/0/backend/domus-vbd/1/51728");
    EXPECT_EQ(disks[1].target, "/srv/b.img");
    EXPECT_EQ(disks[1].state, XenbusState::Connected);
    EXPECT_EQ(world.store->read("/local/domain/1/device/vbd/51728/backend"), disks[1].backend);
    EXPECT_FALSE(world.host.in_use("/srv/b.img")) << "domus-blockd has it, domusd must not";
    EXPECT_THAT(world.failure(world.engine->attach_disk(domid, disk("/srv/b.img,raw,xvdc,rw"))),
                HasSubstr("is in use"));
    EXPECT_THAT(world.failure(world.engine->attach_disk(domid, disk("/srv/c.img,raw,xvdb,rw"))),
                HasSubstr("has a disk xvdb already"));
    EXPECT_EQ(detach("vbd", "xvdb"), "");
    EXPECT_EQ(world.traces(), before);
    EXPECT_EQ(record().disks.size(), 1u);
}

// Linux's backend knows no such node.
TEST_F(DeviceTest, WhatADiskSaysOfPersistentGrantsReachesOurBackend) {
    const auto says = [this](const std::string& kind, const std::string& more) {
        attach(disk("/srv/b.img,raw,xvdb,rw,backendtype=" + kind + more));
        const auto back = world.run(world.engine->blocks().list(domid)).at(1).backend;
        const auto node = world.store->read(back + "/persistent-enable");
        EXPECT_EQ(detach("vbd", "xvdb"), "");
        EXPECT_EQ(world.traces(), before);
        return node;
    };
    EXPECT_EQ(says("domus", ",persistent"), "1");
    EXPECT_EQ(says("domus", ",no-persistent"), "0");
    EXPECT_EQ(says("domus", ""), std::nullopt);
    EXPECT_EQ(says("linux", ",persistent"), std::nullopt);
    EXPECT_EQ(says("linux", ",no-persistent"), std::nullopt);
}

TEST_F(DeviceTest, AnImageOfAnotherFormatHasAServerAsLongAsTheDisk) {
    const std::string image = "/srv/b.img,qcow2,xvdb,rw,backendtype=domus";
    attach(disk(image));
    EXPECT_EQ(world.host.servers, std::set<std::string>{"1-51728"});
    EXPECT_EQ(world.store->read("/local/domain/0/backend/domus-vbd/1/51728/params"), "nbd+unix:///?socket=/1-51728");
    EXPECT_EQ(world.run(world.engine->blocks().list(domid)).at(1).target, "/srv/b.img");
    EXPECT_THAT(world.failure(world.engine->attach_disk(domid, disk("/srv/b.img,raw,xvdc,rw"))),
                HasSubstr("/srv/b.img is in use by"));
    EXPECT_EQ(detach("vbd", "xvdb"), "");
    EXPECT_TRUE(world.host.servers.empty());
    EXPECT_EQ(world.traces(), before);
    world.host.image_error = "it is no such image";
    EXPECT_THAT(world.failure(world.engine->attach_disk(domid, disk(image))),
                HasSubstr("disk xvdb: /srv/b.img: it is no such image"));
    EXPECT_TRUE(world.host.servers.empty());
    EXPECT_EQ(world.traces(), before);
    world.host.image_error.clear();
    attach(disk(image));
    world.run(world.engine->destroy(domid));
    EXPECT_TRUE(world.host.servers.empty());
}

TEST_F(DeviceTest, ACardIsNamedByItsMacInEitherCaseAndAsRingCallsIt) {
    attach(vif("mac=00:16:3e:0a:0b:0c"));
    EXPECT_EQ(detach("vif", "00:16:3E:0A:0B:0C"), "");
    attach(vif(""));
    EXPECT_EQ(detach("vif", "vif1"), "");
    EXPECT_EQ(world.traces(), before);
}

TEST_F(DeviceTest, WhatIsTakenIsRefused) {
    EXPECT_THAT(world.failure(world.engine->attach_disk(domid, disk("/srv/b.img,raw,xvda,rw"))),
                HasSubstr("domain 1 has a disk xvda already"));
    EXPECT_THAT(world.failure(world.engine->attach_disk(domid, disk("/srv/a.img,raw,xvdb,rw"))),
                HasSubstr("/srv/a.img is in use by web (domain 1) as xvda"));
    EXPECT_THAT(world.failure(world.engine->attach_vif(domid, vif("devid=0"))), HasSubstr("network card 0 already"));
    EXPECT_THAT(detach("vbd", "xvdz"), HasSubstr("domain 1 has no disk xvdz; it has xvda"));
    EXPECT_THAT(detach("vbd", "nonsense"), HasSubstr("is not the name of a guest's disk"));
    EXPECT_THAT(detach("vif", "7"), HasSubstr("domain 1 has no network card 7; it has vif0 ("));
    EXPECT_EQ(world.traces(), before);
}

TEST_F(DeviceTest, Domain0HasNoDevicesOfOurs) {
    domid = 0;
    EXPECT_THAT(world.failure(world.engine->attach_disk(0, disk("/srv/b.img,raw,xvdb,rw"))), HasSubstr("Domain-0"));
    EXPECT_THAT(world.failure(world.engine->attach_vif(0, vif(""))), HasSubstr("Domain-0"));
    EXPECT_THAT(detach("vbd", "xvda"), HasSubstr("Domain-0 is the machine's own domain, domus does not detach devices "
                                                 "from it; name a guest"));
}

TEST_F(DeviceTest, AGuestMayHoldOnUntilForced) {
    world.kernel->guests_let_go = false;
    EXPECT_THAT(detach("vbd", "xvda"), HasSubstr("does not let go of disk xvda; unmount it in the guest"));
    EXPECT_TRUE(world.host.in_use("/dev/loop1"));
    EXPECT_EQ(record().disks.size(), 1u) << "it still has the disk";
    EXPECT_EQ(detach("vbd", "xvda", true), "");
    EXPECT_FALSE(world.host.in_use("/dev/loop1"));
    EXPECT_THAT(world.run(world.engine->blocks().list(domid)), IsEmpty());
}

TEST_F(DeviceTest, ABackendThatIsGoneIsNotTheGuestsFault) {
    attach(disk("/srv/b.img,raw,xvdb,rw,backendtype=domus"));
    attach(vif("backendtype=domus"));
    world.kernel->backends_close = false;
    EXPECT_THAT(
        detach("vbd", "xvdb"),
        AllOf(HasSubstr("domain 1 has let go of disk xvdb, but dom0's driver for domus-vbd devices does not close"),
              HasSubstr("is domus-blockd running?")));
    EXPECT_THAT(detach("vif", "vif1"), AllOf(HasSubstr("is domus-netd running?"), HasSubstr("packets under way")));
    world.kernel->backends_close = true; // it came back
    world.kernel->react();
    EXPECT_EQ(detach("vbd", "xvdb"), "");
    EXPECT_EQ(detach("vif", "vif1"), "");
    EXPECT_EQ(world.traces(), before);
}

TEST_F(DeviceTest, ADriverThatRefusesIsNotSaidToBeLate) {
    world.kernel->refusal = "22 making the tap device web1: no luck";
    EXPECT_EQ(
        world.failure(world.engine->attach_vif(domid, vif("vifname=web1,backendtype=domus"))),
        "dom0's driver for domus-vif devices refuses /local/domain/0/backend/domus-vif/1/1: making the tap device "
        "web1: no luck; more stands in /var/log/domus/domus-netd.log");
    EXPECT_EQ(world.traces(), before);
}

TEST_F(DeviceTest, WhatDom0HasBySuchANameIsSaid) {
    world.host.interfaces.insert("eth0");
    before = world.traces();
    const auto refusal = [&](const std::string& spec) {
        return world.failure(world.engine->attach_vif(domid, vif(spec)));
    };
    for (const std::string server : {"domus", "linux"})
        EXPECT_THAT(refusal("vifname=eth0,backendtype=" + server), HasSubstr("dom0 has an interface eth0 already"));
    EXPECT_EQ(refusal("bridge=eth0"), "vif: dom0's interface eth0 is no bridge; name one by bridge=");
    const auto missing = world.failure(world.engine->attach_disk(domid, disk("b.img,raw,xvdb,rw")));
    EXPECT_THAT(missing, AllOf(HasSubstr("/dev/b.img is not there"), HasSubstr("of an image write the whole path")));
    EXPECT_THAT(missing, Not(HasSubstr("truncate")));
    EXPECT_EQ(world.traces(), before);
}

TEST_F(DeviceTest, DevicesAreListedInTheirOrderWhoeverServesThem) {
    attach(vif("backendtype=domus"));
    attach(vif("backendtype=linux"));
    const auto cards = world.run(world.engine->networks().list(domid));
    ASSERT_EQ(cards.size(), 3u);
    for (std::uint32_t i = 0; i < 3; ++i)
        EXPECT_EQ(cards[i].devid, i);
}

// A guest that has not looked at the device yet would never answer.
TEST_F(DeviceTest, AFrontendThatSleepsIsNotAsked) {
    world.kernel->guests_connect = false;
    attach(disk("/srv/b.img,raw,xvdb,rw"));
    EXPECT_EQ(world.store->read("/local/domain/1/device/vbd/51728/state"), "1");
    EXPECT_EQ(detach("vbd", "xvdb"), "");
    EXPECT_EQ(world.traces(), before);
}

TEST_F(DeviceTest, AttachThatFailsAtAnyStepLeavesNothing) {
    for (const bool a_disk : {true, false}) {
        for (unsigned step = 1;; ++step) {
            world.faults.arm(step);
            std::string message;
            if (a_disk)
                message = world.failure(world.engine->attach_disk(domid, disk("/srv/b.img,raw,xvdb,rw")));
            else
                message = world.failure(world.engine->attach_vif(domid, vif("mac=00:16:3e:00:00:09,vifname=w")));
            const std::string where = fmt::format("step {}: {}", step, world.faults.failed());
            if (world.faults.failed().empty())
                break;
            world.faults.disarm();
            ASSERT_NE(message, "") << where;
            ASSERT_EQ(world.traces(), before) << where;
            ASSERT_EQ(record().disks.size() + record().vifs.size(), 2u) << where;
        }
        before = world.traces(); // with the device
        world.records.kept.begin()->second.config = world.guest("web");
        world.records.kept.begin()->second.config.uuid = world.hypervisor.domains_by_id.at(domid).info.uuid;
    }
}

// Nodes that a guest writes are not to be trusted.
TEST_F(DeviceTest, NonsenseInTheGuestsNodesIsZero) {
    for (const char* text : {"-1", "99999999999", "", "0x5", "5 ", "five"}) {
        world.store->write("/local/domain/1/device/vbd/51712/ring-ref", text);
        world.store->write("/local/domain/1/device/vif/0/event-channel-tx", text);
        EXPECT_EQ(world.run(world.engine->blocks().list(domid)).at(0).ring_ref, 0u) << text;
        EXPECT_EQ(world.run(world.engine->networks().list(domid)).at(0).tx_port, 0u) << text;
    }
    world.store->write("/local/domain/1/device/vbd/51712/ring-ref", "8");
    world.store->write("/local/domain/1/device/vif/0/event-channel", "17");
    EXPECT_EQ(world.run(world.engine->blocks().list(domid)).at(0).ring_ref, 8u);
    EXPECT_EQ(world.run(world.engine->networks().list(domid)).at(0).rx_port, 17u);
}

} // namespace
} // namespace domus::engine::test
