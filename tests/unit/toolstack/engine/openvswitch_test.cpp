// Cards on Open vSwitch's bridges: what ovs-vsctl is told, and what happens when it is not there or does not answer.
#include "tests/unit/toolstack/fake/world.hpp"

#include "toolstack/model/vif.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::engine::test {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

struct OpenVswitchTest : testing::Test {
    World world{Patience{.backend = std::chrono::milliseconds(2'000)}};
    std::uint16_t domid = world.create(world.guest("web"));
    std::map<std::string, std::string> before = world.traces();

    static model::Vif card(const std::string& spec) {
        std::vector<std::string> warnings;
        return model::parse_vif("mac=00:16:3e:0a:0b:0c," + spec, warnings);
    }
    std::string refusal(const std::string& spec) {
        const auto why = world.failure(world.engine->attach_vif(domid, card(spec)));
        EXPECT_EQ(world.traces(), before) << spec;
        return why;
    }
    std::string node(const std::string& name) const {
        return world.store->read("/local/domain/0/backend/domus-vif/1/1/" + name).value_or("none");
    }
};

TEST_F(OpenVswitchTest, ACardComesAndGoes) {
    world.run(world.engine->attach_vif(domid, card("bridge=ovs0")));
    EXPECT_EQ(world.host.ports["vif1.1"], "ovs0 ");
    EXPECT_EQ(node("switch"), "openvswitch") << "domus-netd puts it on no bridge itself";
    EXPECT_EQ(node("bridge"), "ovs0");
    EXPECT_THAT(
        world.host.commands,
        Contains("ovs-vsctl --timeout=2 --no-wait -- --if-exists del-port vif1.1 -- add-port ovs0 vif1.1 -- set "
                 "Interface vif1.1 external_ids:attached-mac=\"00:16:3e:0a:0b:0c\""));
    EXPECT_THAT(world.host.commands, Contains("ovs-vsctl --timeout=2 --no-wait wait-until Interface vif1.1 ofport>0"));
    world.run(world.engine->detach(domid, "vif", "1", false));
    EXPECT_EQ(world.host.commands.back(), "ovs-vsctl --timeout=2 --no-wait --if-exists del-port ovs0 vif1.1");
    EXPECT_EQ(world.traces(), before);
}

TEST_F(OpenVswitchTest, VlansAndTrunks) {
    const std::pair<const char*, const char*> cases[] = {
        {"bridge=ovs0.10", "ovs0 tag=10"},
        {"bridge=ovs0:20:30", "ovs0 trunks=20,30"},
        {"bridge=ovs0.10:20", "ovs0 tag=10 trunks=20 vlan_mode=native-untagged"},
        {"bridge=ovs0.10,script=vif-openvswitch,vifname=web1", "ovs0 tag=10"},
        {"bridge=ovs0.10,vifname=web1,backendtype=linux", "ovs0 tag=10"}};
    for (const auto& [spec, told] : cases) {
        world.run(world.engine->attach_vif(domid, card(spec)));
        EXPECT_EQ(world.host.ports[card(spec).vifname.empty() ? "vif1.1" : "web1"], told) << spec;
        EXPECT_EQ(world.run(world.engine->networks().list(domid)).at(1).bridge, card(spec).bridge);
        world.run(world.engine->detach(domid, "vif", "1", false));
        EXPECT_EQ(world.traces(), before) << spec;
    }
}

TEST_F(OpenVswitchTest, WhatIsLinuxsIsLinuxsUnlessTheScriptIsNamed) {
    world.host.bridges.insert("ovs0.10");
    world.run(world.engine->attach_vif(domid, card("bridge=ovs0.10")));
    EXPECT_THAT(world.host.ports, IsEmpty());
    EXPECT_EQ(node("switch"), "none");
    world.run(world.engine->detach(domid, "vif", "1", false));
    EXPECT_THAT(world.host.commands, IsEmpty());
    world.run(world.engine->attach_vif(domid, card("bridge=ovs0.10,script=vif-openvswitch")));
    EXPECT_EQ(world.host.ports["vif1.1"], "ovs0 tag=10");
}

TEST_F(OpenVswitchTest, ItGoesWithItsGuest) {
    world.run(world.engine->attach_vif(domid, card("bridge=ovs0")));
    world.run(world.engine->destroy(domid));
    EXPECT_THAT(world.host.ports, IsEmpty());
}

TEST_F(OpenVswitchTest, ANewDomusdKnowsWhereItStands) {
    world.run(world.engine->attach_vif(domid, card("bridge=ovs0")));
    Engine later({world.hypervisor, *world.client, world.host, world.builder, world.records});
    world.run(later.start());
    world.run(later.detach(domid, "vif", "1", false));
    EXPECT_EQ(world.traces(), before);
}

TEST_F(OpenVswitchTest, WithoutIt) {
    world.host.has_vswitch = false;
    EXPECT_THAT(refusal("bridge=ovs0.10:20"), HasSubstr("dom0 has no ovs-vsctl; run: apt install openvswitch-switch"));
    EXPECT_THAT(refusal("bridge=ovs0,script=vif-openvswitch"), HasSubstr("apt install openvswitch-switch"));
    EXPECT_THAT(refusal("bridge=ovs0"),
                AllOf(HasSubstr("no bridge ovs0 in dom0; make it (ip link"), testing::Not(HasSubstr("vSwitch"))));
}

TEST_F(OpenVswitchTest, WithoutTheBridge) {
    EXPECT_THAT(refusal("bridge=ovs7.10:20"),
                HasSubstr("no bridge ovs7 in dom0's Open vSwitch; make it (ovs-vsctl add-br"));
    EXPECT_THAT(refusal("bridge=ovs7"),
                HasSubstr("or name another by bridge=; for one of Open vSwitch's: ovs-vsctl add-br"));
}

TEST_F(OpenVswitchTest, ThatDoesNotAnswer) {
    world.host.vswitch_says = Ended{1, "ovs-vsctl: unix:/run/db.sock: database connection failed (No such file)\n"};
    EXPECT_EQ(
        refusal("bridge=ovs0.10,script=vif-openvswitch"),
        "vif: Open vSwitch in dom0, which bridge=ovs0.10 needs: ovs-vsctl: unix:/run/db.sock: database connection "
        "failed (No such file); is it running? systemctl restart openvswitch-switch; its log is "
        "/var/log/openvswitch");
    world.host.vswitch_says = Ended{128 + 14, "Alarm clock"};
    EXPECT_THAT(refusal("bridge=ovs0:1"), HasSubstr("ovs-vsctl got no answer in time; is it running?"));
    EXPECT_THAT(refusal("bridge=ovs0"), HasSubstr("if it is Open vSwitch's: ovs-vsctl got no answer in time"));
}

TEST_F(OpenVswitchTest, ItsDaemonDoesNotTakeTheInterfaceOn) {
    world.host.vswitch_takes_on = false;
    EXPECT_EQ(refusal("bridge=ovs0"), "vif: ovs-vswitchd did not take vif1.1 on within 2 s: \"could not open network "
                                      "device\"; is it running? systemctl restart openvswitch-switch; its log is "
                                      "/var/log/openvswitch");
    EXPECT_EQ(refusal("bridge=ovs0,backendtype=linux").substr(0, 38), "vif: ovs-vswitchd did not take vif1.1 ");
}

// A port may be an interface of dom0's own, its way out even: it must not be taken from it.
TEST_F(OpenVswitchTest, AnInterfaceThatIsThereIsNotTouched) {
    world.host.interfaces.insert("eth0");
    world.host.ports["eth0"] = "ovs0 ";
    before = world.traces();
    EXPECT_THAT(refusal("bridge=ovs0,vifname=eth0"), HasSubstr("dom0 has an interface eth0 already"));
    EXPECT_THAT(world.host.commands, testing::Not(Contains(HasSubstr("add-port"))));
}

TEST_F(OpenVswitchTest, ACardThatCannotBeTakenOffIsGoneAllTheSame) {
    world.run(world.engine->attach_vif(domid, card("bridge=ovs0")));
    world.host.vswitch_says = Ended{1, "database connection failed"};
    world.run(world.engine->detach(domid, "vif", "1", false));
    EXPECT_THAT(world.log(), HasSubstr("taking vif1.1 off its bridge: database connection failed"));
    EXPECT_THAT(world.log(), HasSubstr("later: ovs-vsctl del-port ovs0 vif1.1"));
    world.host.ports.clear();
    EXPECT_EQ(world.traces(), before);
}

TEST_F(OpenVswitchTest, TheMtuIsTheBridges) {
    world.host.mtus = {{"ovs0", 9000}, {"xenbr1", 1400}};
    for (const auto& [bridge, mtu] : std::map<std::string, std::string>{
             {"ovs0.10", "9000"}, {"xenbr1", "1400"}, {"xenbr0", "none"}, {"ovs0,mtu=1500", "1500"}}) {
        world.run(world.engine->attach_vif(domid, card("bridge=" + bridge)));
        EXPECT_EQ(node("mtu"), mtu) << bridge;
        EXPECT_EQ(world.store->read("/local/domain/1/device/vif/1/mtu").value_or("none"), mtu) << bridge;
        world.run(world.engine->detach(domid, "vif", "1", false));
    }
}

} // namespace
} // namespace domus::engine::test
