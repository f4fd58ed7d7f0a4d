// The small verbs: names to numbers, pause, power, memory, destroy.
#include <utility>

#include "tests/unit/toolstack/fake/world.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::engine::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct QueryTest : testing::Test {
    World world;
    std::uint16_t domid = 0;
    void SetUp() override {
        model::Domain config = world.guest("web");
        config.max_memory_kib = 512 * 1024;
        domid = world.create(config);
    }
    Engine& engine() { return *world.engine; }
    std::string node(const std::string& below) const {
        return world.store->read("/local/domain/1/" + below).value_or("(absent)");
    }
};

TEST_F(QueryTest, NamesAndNumbers) {
    EXPECT_EQ(world.run(engine().resolve("web")), 1);
    EXPECT_EQ(world.run(engine().resolve("1")), 1);
    EXPECT_EQ(world.run(engine().resolve("Domain-0")), 0);
    EXPECT_EQ(world.failure(engine().resolve("db")), "there is no guest called db; domus list shows which there are");
    for (const char* text : {"2", "65537", "32752", "4294967295"})
        EXPECT_EQ(world.failure(engine().resolve(text)),
                  fmt::format("there is no domain {}; domus list shows which there are", text));
    for (const char* text : {"", "-1", "0x1", "1 ", "99999999999", "web\n"})
        EXPECT_THAT(world.failure(engine().resolve(text)), HasSubstr("there is no guest called")) << text;
}

TEST_F(QueryTest, ADomainWithoutANameIsNotFoundByThePlaceholder) {
    world.store->remove("/local/domain/1/name");
    EXPECT_EQ(world.run(engine().list()).at(1).name, "(null)");
    EXPECT_NE(world.failure(engine().resolve("(null)")), "");
}

TEST_F(QueryTest, PauseAndUnpause) {
    world.run(engine().pause(domid));
    EXPECT_TRUE(world.hypervisor.domain_info(domid)->paused);
    world.run(engine().unpause(domid));
    EXPECT_FALSE(world.hypervisor.domain_info(domid)->paused);
    EXPECT_THAT(world.failure(engine().pause(0)), HasSubstr("Domain-0 is the machine's own domain"));
}

TEST_F(QueryTest, PowerIsAskedOfTheGuest) {
    world.run(engine().power(domid, false));
    EXPECT_EQ(node("control/shutdown"), "poweroff");
    world.run(engine().power(domid, true));
    EXPECT_EQ(node("control/shutdown"), "reboot");
    EXPECT_THAT(world.failure(engine().power(0, true)), HasSubstr("use poweroff or reboot there"));
    world.run(engine().pause(domid));
    EXPECT_THAT(world.failure(engine().power(domid, false)),
                HasSubstr("is paused and would not hear it; domus unpause 1"));
    world.hypervisor.end(domid, client::ShutdownReason::crash);
    EXPECT_THAT(world.failure(engine().power(domid, false)), HasSubstr("has ended already"));
}

TEST_F(QueryTest, WaitingForTheEnd) {
    EXPECT_FALSE(world.run(engine().wait_ended(domid, std::chrono::milliseconds(1))));
    world.hypervisor.end(domid, client::ShutdownReason::poweroff); // before the wait begins
    EXPECT_TRUE(world.run(engine().wait_ended(domid, std::chrono::seconds(30))));
    EXPECT_FALSE(world.hypervisor.domain_info(domid)) << "and what follows from it is done";
}

// A store that fails must not let the caller wait until the limit is over.
TEST_F(QueryTest, WaitingEndsWithTheStore) {
    world.faults.arm(1);
    EXPECT_THAT(world.failure(engine().wait_ended(domid, std::chrono::hours(24))), HasSubstr("xenstore"));
}

TEST_F(QueryTest, MemoryTarget) {
    world.run(engine().set_memory(domid, 256 * 1024));
    EXPECT_EQ(node("memory/target"), "262144");
    EXPECT_EQ(world.hypervisor.domains_by_id.at(domid).max_kib, 257u * 1024);
    EXPECT_THAT(world.failure(engine().set_memory(domid, 513 * 1024)),
                AllOf(HasSubstr("at most 512 MiB"), HasSubstr("maxmem=")));
    EXPECT_THAT(world.failure(engine().set_memory(domid, 4095)),
                HasSubstr("too little for a guest; give the size in MiB"));
    EXPECT_THAT(world.failure(engine().set_memory(7, 4096)), HasSubstr("there is no domain 7 any more"));
    world.hypervisor.machine.free_pages = 64 * 256;
    EXPECT_THAT(world.failure(engine().set_memory(domid, 256 * 1024)),
                AllOf(HasSubstr("growing domain 1"), HasSubstr("128 MiB is needed, 64 MiB is free")));
    EXPECT_EQ(world.failure(engine().set_memory(domid, 64 * 1024)), "") << "giving memory back needs none";
}

TEST_F(QueryTest, DestroyTakesEverything) {
    model::Domain other = world.guest("db");
    other.disks.clear();
    other.vifs.clear();
    const auto before = world.traces();
    world.run(engine().destroy(world.create(other)));
    EXPECT_EQ(world.traces(), before);
    EXPECT_THAT(world.failure(engine().destroy(0)), HasSubstr("Domain-0"));
    EXPECT_THAT(world.failure(engine().destroy(2)), HasSubstr("there is no domain 2 any more"));
}

TEST_F(QueryTest, AnEndedGuestIsDestroyedToo) {
    world.hypervisor.end(domid, client::ShutdownReason::crash);
    world.run(engine().destroy(domid));
    EXPECT_EQ(world.hypervisor.domains().size(), 1u);
    EXPECT_TRUE(world.records.kept.empty());
    EXPECT_TRUE(world.host.interfaces.empty());
}

} // namespace
} // namespace domus::engine::test
