// Every verb of domus as people type it: what it does, what it prints, and what --json says.
#include <utility>

#include "tests/unit/toolstack/cli/program.hpp"

#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace domus::cli {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using Verbs = ProgramTest;

TEST_F(Verbs, Create) {
    const Ran ran = domus({"create", config("web")});
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_THAT(ran.out, StartsWith("web is domain 1, created in "));
    EXPECT_EQ(ran.err, "");
    EXPECT_FALSE(world.hypervisor.domain_info(1)->paused);
    world.run(world.engine->destroy(1));
    const auto created = json<proto::Created>({"create", config("web"), "memory=64"});
    EXPECT_EQ(created.domid(), 2u);
    EXPECT_EQ(created.name(), "web");
    EXPECT_EQ(world.hypervisor.domain_info(2)->pages, 64u * 256);
}

TEST_F(Verbs, Version) {
    const Ran ran = domus({"--version"});
    EXPECT_EQ(ran.status, 0);
    EXPECT_EQ(ran.out, "domus " DOMUS_VERSION "\n");
}

TEST_F(Verbs, AnAnswerThatCannotBeWrittenIsAFailure) {
    const Ran ran = domus({"list"}, "/dev/full");
    EXPECT_EQ(ran.status, 1);
    EXPECT_THAT(ran.err, HasSubstr("the answer could not be written: No space left"));
}

TEST_F(Verbs, CreatePaused) {
    EXPECT_THAT(domus({"create", "-p", config("web")}).out, StartsWith("web is domain 1 (paused), created in "));
    EXPECT_TRUE(world.hypervisor.domain_info(1)->paused);
}

TEST_F(Verbs, CreateShowsWarnings) {
    const Ran ran = domus({"create", config("web"), "memroy=64"});
    EXPECT_EQ(ran.status, 0);
    EXPECT_THAT(ran.err, StartsWith("command line \"memroy=64\":1:1: warning: unknown setting"));
}

/// A console daemon whose guest says a line and ends: the second time there is nobody to attach to.
boost::asio::awaitable<void> serve_console(boost::asio::local::stream_protocol::acceptor& acceptor,
                                           std::string& asked) {
    for (const std::string& answer : {std::string("ok web\nlogin: "), std::string("error there is no domain 1\n")}) {
        auto socket = co_await acceptor.async_accept(boost::asio::use_awaitable);
        std::string line;
        co_await boost::asio::async_read_until(socket, boost::asio::dynamic_buffer(line), '\n',
                                               boost::asio::use_awaitable);
        asked += line;
        co_await boost::asio::async_write(socket, boost::asio::buffer(answer), boost::asio::use_awaitable);
    }
}

TEST_F(Verbs, ConsoleAndCreateWithConsole) {
    for (const bool with_create : {true, false}) {
        std::string request;
        auto acceptor = daemon::listen_at(world.io.get_executor(), console_socket);
        boost::asio::co_spawn(world.io, serve_console(acceptor, request), [](std::exception_ptr) {});
        const Ran ran = with_create ? domus({"create", "-c", config("web")}) : domus({"console", "web"});
        EXPECT_THAT(ran.out, HasSubstr("login: ")) << ran.err;
        EXPECT_EQ(request, "domus-console 1 attach 1 replay\ndomus-console 1 attach 1 resume\n");
        EXPECT_EQ(ran.out.find("created in") != std::string::npos, with_create);
        ::unlink(console_socket.c_str());
    }
    EXPECT_EQ(json<proto::DomainId>({"console", "web"}).domid(), 1u) << "a terminal is no JSON: whose it would be";
}

TEST_F(Verbs, ConfigCheck) {
    const Ran ran = domus({"config-check", config("web"), "colour=1"});
    EXPECT_EQ(ran.status, 0);
    EXPECT_THAT(ran.out, HasSubstr("web.cfg: good: guest web, 128 MiB, 1 vcpus, 1 disks, 1 network cards\n"));
    EXPECT_THAT(ran.err, HasSubstr("unknown setting \"colour\""));
    const auto answer = json<proto::ConfigCheck>({"config-check", config("web"), "colour=1"});
    EXPECT_EQ(answer.config().disks(0).vdev(), "xvda");
    EXPECT_EQ(answer.warnings_size(), 1);
    EXPECT_EQ(world.hypervisor.domains().size(), 1u) << "nothing is made";
}

TEST_F(Verbs, List) {
    domus({"create", config("web")});
    const Ran ran = domus({"list"});
    EXPECT_THAT(ran.out, HasSubstr("\nDomain-0      "));
    EXPECT_THAT(ran.out, HasSubstr("\nweb           "));
    EXPECT_THAT(domus({"list", "web"}).out, testing::Not(HasSubstr("Domain-0")));
    const auto list = json<proto::DomainList>({"list"});
    ASSERT_EQ(list.domains_size(), 2);
    EXPECT_EQ(list.domains(1).name(), "web");
    EXPECT_EQ(list.domains(1).memory_kib(), 128u * 1024);
}

TEST_F(Verbs, Info) {
    EXPECT_THAT(domus({"info"}).out, HasSubstr("free_memory            : 1024\n"));
    EXPECT_EQ(json<proto::HostInfo>({"info"}).free_memory_kib(), 1024u * 1024);
}

TEST_F(Verbs, ShutdownAndReboot) {
    domus({"create", config("web")});
    json<proto::Empty>({"shutdown", "web"});
    EXPECT_EQ(world.store->read("/local/domain/1/control/shutdown"), "poweroff");
    json<proto::Empty>({"reboot", "web"});
    EXPECT_EQ(world.store->read("/local/domain/1/control/shutdown"), "reboot");
    const Ran ran = domus({"shutdown", "-w", "--timeout", "1", "web"});
    EXPECT_EQ(ran.status, 1);
    EXPECT_THAT(ran.err, HasSubstr("has not ended within 1 s"));
    EXPECT_THAT(domus({"shutdown", "web"}).out, "");
}

TEST_F(Verbs, PauseUnpauseDestroy) {
    domus({"create", config("web")});
    json<proto::Empty>({"pause", "web"});
    EXPECT_TRUE(world.hypervisor.domain_info(1)->paused);
    json<proto::Empty>({"unpause", "1"});
    EXPECT_FALSE(world.hypervisor.domain_info(1)->paused);
    json<proto::Empty>({"destroy", "web"});
    EXPECT_FALSE(world.hypervisor.domain_info(1));
}

TEST_F(Verbs, MemSet) {
    domus({"create", config("web")});
    json<proto::Empty>({"mem-set", "web", "64"});
    EXPECT_EQ(world.store->read("/local/domain/1/memory/target"), "65536");
    EXPECT_EQ(domus({"mem-set", "web", "256m"}).status, 0);
    EXPECT_EQ(world.store->read("/local/domain/1/memory/target"), "262144");
}

TEST_F(Verbs, Dmesg) {
    EXPECT_EQ(domus({"dmesg"}).out, "(XEN) hello\n");
    EXPECT_EQ(json<proto::Text>({"dmesg", "-c"}).text(), "(XEN) hello\n");
    EXPECT_EQ(domus({"dmesg"}).out, "");
}

TEST_F(Verbs, Perf) {
    EXPECT_THAT(domus({"perf"}).out, HasSubstr("page faults"));
    EXPECT_EQ(json<proto::Counters>({"perf"}).counters(1).values_size(), 3);
    EXPECT_EQ(json<proto::Counters>({"perf", "Domain-0"}).domid(), 0u);
    json<proto::Empty>({"perf", "--reset"});
    EXPECT_EQ(world.hypervisor.resets, 1u);
}

TEST_F(Verbs, DomidAndDomname) {
    domus({"create", config("web")});
    EXPECT_EQ(domus({"domid", "web"}).out, "1\n");
    EXPECT_EQ(domus({"domname", "1"}).out, "web\n");
    EXPECT_EQ(json<proto::DomainId>({"domid", "web"}).domid(), 1u);
    EXPECT_EQ(json<proto::DomainId>({"domname", "1"}).name(), "web");
}

TEST_F(Verbs, Block) {
    domus({"create", config("web")});
    EXPECT_EQ(json<proto::Attached>({"block-attach", "web", "/srv/b.img,raw,xvdb,ro"}).devid(), 51728u);
    const auto list = json<proto::BlockList>({"block-list", "web"});
    ASSERT_EQ(list.devices_size(), 2);
    EXPECT_EQ(list.devices(1).target(), "/srv/b.img");
    EXPECT_TRUE(list.devices(1).read_only());
    EXPECT_THAT(domus({"block-list", "web"}).out, HasSubstr("\n51728 0   0      4 "));
    json<proto::Empty>({"block-detach", "web", "xvdb"});
    EXPECT_EQ(domus({"block-attach", "web", "phy:/dev/vg/c", "xvdc", "w"}).status, 0) << "words, as xl takes them too";
    EXPECT_EQ(domus({"block-detach", "--force", "web", "xvdc"}).status, 0);
    EXPECT_EQ(json<proto::BlockList>({"block-list", "web"}).devices_size(), 1);
}

TEST_F(Verbs, Network) {
    domus({"create", config("web")});
    EXPECT_EQ(json<proto::Attached>({"network-attach", "web", "mac=00:16:3e:00:00:0a", "bridge=xenbr1"}).devid(), 1u);
    EXPECT_EQ(domus({"network-attach", "web"}).status, 0) << "a card with all defaults";
    const auto list = json<proto::NetworkList>({"network-list", "web"});
    ASSERT_EQ(list.devices_size(), 3);
    EXPECT_EQ(list.devices(1).bridge(), "xenbr1");
    EXPECT_THAT(domus({"network-list", "web"}).out, HasSubstr("\n1   0  00:16:3e:00:00:0a "));
    json<proto::Empty>({"network-detach", "web", "00:16:3e:00:00:0a"});
    EXPECT_EQ(domus({"network-detach", "web", "2"}).status, 0);
    EXPECT_EQ(json<proto::NetworkList>({"network-list", "web"}).devices_size(), 1);
}

} // namespace
} // namespace domus::cli
