// Devices whose backend runs in another guest: who may do what with their nodes, and what happens when either ends.
#include "tests/unit/toolstack/fake/world.hpp"

#include "toolstack/model/vif.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::engine {
namespace {

using testing::HasSubstr;

struct DriverDomain : testing::Test {
    test::World world{Patience{.backend = std::chrono::milliseconds(300)}};
    std::uint16_t driver = 0, web = 0;
    const std::string back = "/local/domain/1/backend/domus-vif/2/0", front = "/local/domain/2/device/vif/0";

    static model::Vif card(const std::string& text) {
        std::vector<std::string> warnings;
        return model::parse_vif(text, warnings);
    }
    model::Domain plain(const std::string& name) const {
        auto config = world.guest(name);
        config.disks.clear();
        config.vifs.clear();
        return config;
    }
    DriverDomain() {
        driver = world.create(plain("net"));
        auto config = plain("web");
        config.vifs.push_back(card("backend=net,bridge=br7"));
        web = world.create(config);
    }
    std::string permissions(const std::string& path) {
        std::string out;
        for (const auto& one : world.run(world.client->get_permissions(path)))
            out += fmt::format("{}{}", char(one.access), one.domid);
        return out;
    }
};

TEST_F(DriverDomain, NodesBelongToThoseWhoServe) {
    EXPECT_EQ(world.store->read(front + "/backend"), back);
    EXPECT_EQ(world.store->read(front + "/backend-id"), "1");
    EXPECT_EQ(world.store->read(back + "/frontend-id"), "2");
    EXPECT_EQ(world.store->read(back + "/bridge"), "br7") << "a bridge of the driver domain, which dom0 cannot see";
    EXPECT_EQ(permissions(back), "n1r2");
    EXPECT_EQ(permissions(back + "/mac"), "n1r2");
    EXPECT_EQ(permissions(front), "n2r1");
    for (const char* above : {"/local/domain/1/backend", "/local/domain/1/backend/domus-vif"})
        EXPECT_EQ(permissions(above), "n0r1") << "dom0's: a guest makes no devices up";
}

TEST_F(DriverDomain, ItIsListedAndTakenAway) {
    const auto cards = world.run(world.engine->networks().list(web));
    ASSERT_EQ(cards.size(), 1u);
    EXPECT_EQ(cards[0].backend_domid, driver);
    EXPECT_EQ(cards[0].backend, back);
    const auto views = world.run(world.engine->devices(web, "vif0"));
    EXPECT_THAT(views.at(0).figures.missing, HasSubstr("served in domain 1"));
    EXPECT_EQ(world.run(world.engine->attach_vif(web, card(""))), 1u) << "another one, of dom0";
    world.run(world.engine->detach(web, "vif", "0", false));
    EXPECT_FALSE(world.store->read(back + "/state"));
    EXPECT_FALSE(world.store->read(front + "/state"));
    EXPECT_FALSE(world.store->read("/local/domain/1/backend")) << "nothing is left";
}

TEST_F(DriverDomain, WhoItServesEnds) {
    world.run(world.engine->destroy(web));
    EXPECT_FALSE(world.store->read("/local/domain/1/backend"));
    EXPECT_TRUE(world.hypervisor.domain_info(driver));
}

TEST_F(DriverDomain, ItsEndTakesItsCardsAway) {
    world.run(world.engine->destroy(driver));
    EXPECT_FALSE(world.store->read("/local/domain/1"));
    EXPECT_FALSE(world.store->read(front + "/state")) << "as if it had been pulled out";
    EXPECT_THAT(world.log(),
                HasSubstr("web (domain 2) loses its network card 0: domain 1, which served it, has ended"));
    EXPECT_TRUE(world.run(world.engine->networks().list(web)).empty());
    EXPECT_EQ(world.failure(world.engine->attach_vif(web, card("backend=net"))),
              "backend=net: there is no guest called net; domus list shows which there are; create it first");
}

TEST_F(DriverDomain, WhoCannotServeIsRefusedBeforeAnythingIsMade) {
    auto config = plain("late");
    config.vifs.push_back(card("backend=absent"));
    EXPECT_THAT(world.failure(world.engine->create(config, false, {})), HasSubstr("backend=absent: there is no guest"));
    config.vifs[0] = card("backend=late");
    EXPECT_THAT(world.failure(world.engine->create(config, false, {})), HasSubstr("no guest called late"));
    EXPECT_THAT(world.failure(world.engine->attach_vif(web, card("backend=web"))), HasSubstr("cannot serve itself"));
    EXPECT_FALSE(world.hypervisor.domain_info(3));
}

TEST_F(DriverDomain, WithoutItsDaemonTheReasonIsSaid) {
    world.kernel->takes_devices = false;
    const auto wrong = world.failure(world.engine->attach_vif(web, card("backend=net")));
    EXPECT_THAT(wrong, HasSubstr("domain 1's driver for domus-vif devices did not take"));
    EXPECT_THAT(wrong, HasSubstr("is domus-netd running there? (domus console 1)"));
    EXPECT_EQ(world.run(world.engine->networks().list(web)).size(), 1u);
}

} // namespace
} // namespace domus::engine
