// Every verb of the API on an engine over fakes: the answer, or the reason why not.
#include <utility>

#include "tests/unit/toolstack/fake/world.hpp"

#include "toolstack/daemon/dispatch.hpp"
#include "toolstack/proto/convert.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::daemon {
namespace {

using engine::test::World;
using proto::Request;
using proto::Response;
using testing::HasSubstr;

struct DispatchTest : testing::Test {
    World world;
    Dispatcher dispatcher{*world.engine, world.hypervisor, world.host, world.hypervisor};
    std::vector<std::string> stages;

    Response ask(const Request& request) {
        engine::Progress note = [this](std::string_view stage) { stages.emplace_back(stage); };
        return world.run(dispatcher.answer(request, std::move(note)));
    }
    std::string refused(const Request& request) { return ask(request).error().message(); }
    Request create(const std::string& name) const {
        Request request;
        *request.mutable_create()->mutable_config() = proto::to_proto(world.guest(name));
        return request;
    }
};

TEST_F(DispatchTest, Create) {
    const Response answer = ask(create("web"));
    EXPECT_EQ(answer.created().domid(), 1u);
    EXPECT_EQ(answer.created().name(), "web");
    EXPECT_EQ(answer.created().uuid().size(), 36u);
    EXPECT_THAT(stages, testing::Contains("reading the kernel"));
    EXPECT_THAT(refused(create("web")), HasSubstr("is there already"));
    Request empty;
    empty.mutable_create();
    EXPECT_THAT(refused(empty), HasSubstr("name is missing"));
}

TEST_F(DispatchTest, List) {
    ask(create("web"));
    world.hypervisor.end(1, client::ShutdownReason::crash);
    Request request;
    request.mutable_list();
    const Response all = ask(request);
    ASSERT_EQ(all.list().domains_size(), 2);
    EXPECT_EQ(all.list().domains(0).name(), "Domain-0");
    EXPECT_EQ(all.list().domains(1).name(), "web");
    EXPECT_EQ(all.list().domains(1).memory_kib(), 128u * 1024);
    EXPECT_TRUE(all.list().domains(1).crashed());
    EXPECT_EQ(all.list().domains(1).shutdown_reason(), "crash");
    request.mutable_list()->add_domains("web");
    EXPECT_EQ(ask(request).list().domains_size(), 1);
    request.mutable_list()->add_domains("absent");
    EXPECT_THAT(refused(request), HasSubstr("no guest called absent"));
}

TEST_F(DispatchTest, Info) {
    world.hypervisor.build.major = 4;
    world.hypervisor.build.extra = ".17-\xff";
    Request request;
    request.mutable_info();
    const auto info = ask(request).info();
    EXPECT_EQ(info.host(), "dom0");
    EXPECT_EQ(info.total_memory_kib(), 2048u * 1024);
    EXPECT_EQ(info.free_memory_kib(), 1024u * 1024);
    EXPECT_EQ(info.xen_major(), 4u);
    EXPECT_EQ(info.xen_extra(), ".17-?");
    EXPECT_EQ(info.xen_scheduler(), "credit");
}

TEST_F(DispatchTest, PauseUnpauseDestroy) {
    ask(create("web"));
    Request request;
    request.mutable_pause()->set_domain("web");
    EXPECT_TRUE(ask(request).has_done());
    EXPECT_TRUE(world.hypervisor.domain_info(1)->paused);
    request.mutable_unpause()->set_domain("1");
    EXPECT_TRUE(ask(request).has_done());
    EXPECT_FALSE(world.hypervisor.domain_info(1)->paused);
    request.mutable_destroy()->set_domain("web");
    EXPECT_TRUE(ask(request).has_done());
    EXPECT_FALSE(world.hypervisor.domain_info(1));
    EXPECT_THAT(refused(request), HasSubstr("no guest called web"));
    request.mutable_destroy()->set_domain("Domain-0");
    EXPECT_THAT(refused(request), HasSubstr("machine's own domain"));
}

TEST_F(DispatchTest, Power) {
    ask(create("web"));
    Request request;
    request.mutable_power()->set_domain("web");
    EXPECT_TRUE(ask(request).has_done());
    EXPECT_EQ(world.store->read("/local/domain/1/control/shutdown"), "poweroff");
    request.mutable_power()->set_reboot(true);
    EXPECT_TRUE(ask(request).has_done());
    EXPECT_EQ(world.store->read("/local/domain/1/control/shutdown"), "reboot");
}

TEST_F(DispatchTest, PowerThatWaits) {
    ask(create("web"));
    Request request;
    request.mutable_power()->set_domain("web");
    request.mutable_power()->set_wait(true);
    request.mutable_power()->set_timeout_s(1);
    EXPECT_THAT(refused(request), HasSubstr("has not ended within 1 s; look at its console (domus console 1)"));
    EXPECT_THAT(stages, testing::Contains("waiting for domain 1 to power off"));
    world.store->write("/local/domain/1/control/shutdown", "");
    world.store->changed = [this] { // the guest obeys
        world.kernel->react();
        if (world.store->read("/local/domain/1/control/shutdown") == "poweroff" &&
            !world.hypervisor.domain_info(1)->shutdown)
            world.end(1, client::ShutdownReason::poweroff);
    };
    request.mutable_power()->set_timeout_s(0);
    EXPECT_TRUE(ask(request).has_done());
    EXPECT_FALSE(world.hypervisor.domain_info(1)) << "its on_poweroff action is done by then";
}

TEST_F(DispatchTest, MemSet) {
    ask(create("web"));
    Request request;
    request.mutable_mem_set()->set_domain("web");
    request.mutable_mem_set()->set_memory_kib(64 * 1024);
    EXPECT_TRUE(ask(request).has_done());
    EXPECT_EQ(world.store->read("/local/domain/1/memory/target"), "65536");
    request.mutable_mem_set()->set_memory_kib(1);
    EXPECT_THAT(refused(request), HasSubstr("too little"));
}

TEST_F(DispatchTest, Dmesg) {
    world.hypervisor.log = "(XEN) \xfe\n";
    Request request;
    request.mutable_dmesg();
    EXPECT_EQ(ask(request).text().text(), "(XEN) ?\n");
    request.mutable_dmesg()->set_clear(true);
    EXPECT_EQ(ask(request).text().text(), "(XEN) ?\n");
    EXPECT_EQ(ask(request).text().text(), "");
}

TEST_F(DispatchTest, Perf) {
    ask(create("web"));
    Request request;
    request.mutable_perf();
    Response answer = ask(request);
    ASSERT_EQ(answer.counters().counters_size(), 2);
    EXPECT_FALSE(answer.counters().has_domid());
    EXPECT_EQ(answer.counters().counters(1).values_size(), 3);
    request.mutable_perf()->set_domain("web");
    answer = ask(request);
    EXPECT_EQ(answer.counters().domid(), 1u);
    EXPECT_EQ(answer.counters().counters(0).values(0), 1u);
    request.mutable_perf()->set_reset(true);
    EXPECT_TRUE(ask(request).has_done());
    EXPECT_EQ(world.hypervisor.resets, 1u);
}

TEST_F(DispatchTest, Resolve) {
    ask(create("web"));
    Request request;
    request.mutable_resolve()->set_domain("web");
    EXPECT_EQ(ask(request).id().domid(), 1u);
    request.mutable_resolve()->set_domain("1");
    EXPECT_EQ(ask(request).id().name(), "web");
}

TEST_F(DispatchTest, Disks) {
    ask(create("web"));
    Request request;
    auto* attach = request.mutable_block_attach();
    attach->set_domain("web");
    attach->mutable_disk()->set_target("/srv/b.img");
    attach->mutable_disk()->set_vdev("xvdb");
    const Response answer = ask(request);
    EXPECT_EQ(answer.attached().devid(), 51728u);
    EXPECT_EQ(answer.attached().backend(), "/local/domain/0/backend/domus-vbd/1/51728");
    EXPECT_THAT(refused(request), HasSubstr("has a disk xvdb already"));
    request.mutable_block_list()->set_domain("web");
    ASSERT_EQ(ask(request).blocks().devices_size(), 2);
    EXPECT_EQ(ask(request).blocks().devices(1).vdev(), "xvdb");
    request.mutable_block_detach()->set_domain("web");
    request.mutable_block_detach()->set_device("xvdb");
    EXPECT_TRUE(ask(request).has_done());
    EXPECT_THAT(refused(request), HasSubstr("has no disk xvdb"));
}

TEST_F(DispatchTest, Cards) {
    ask(create("web"));
    Request request;
    request.mutable_network_attach()->set_domain("web");
    request.mutable_network_attach()->mutable_vif()->set_mac("00:16:3e:00:00:0a");
    EXPECT_EQ(ask(request).attached().devid(), 1u);
    request.mutable_network_list()->set_domain("web");
    ASSERT_EQ(ask(request).networks().devices_size(), 2);
    EXPECT_EQ(ask(request).networks().devices(1).mac(), "00:16:3e:00:00:0a");
    request.mutable_network_detach()->set_domain("web");
    request.mutable_network_detach()->set_device("00:16:3e:00:00:0a");
    EXPECT_TRUE(ask(request).has_done());
}

TEST_F(DispatchTest, ARequestWithoutAVerbIsAnswered) {
    EXPECT_THAT(refused(Request()), HasSubstr("must come from one build"));
}

// A verb added to domus.proto has to be dispatched.
TEST_F(DispatchTest, EveryVerbIsKnown) {
    const auto* verbs = Request::descriptor();
    for (int i = 0; i < verbs->field_count(); ++i) {
        Request request;
        Request::GetReflection()->MutableMessage(&request, verbs->field(i));
        EXPECT_THAT(refused(request), testing::Not(HasSubstr("does not know this request"))) << verbs->field(i)->name();
    }
}

} // namespace
} // namespace domus::daemon
