// Sessions on domusd's socket: greeting, requests, stages, and clients that lie, hurry or leave.
#include <utility>

#include "tests/unit/toolstack/fake/world.hpp"

#include "toolstack/daemon/server.hpp"
#include "toolstack/proto/convert.hpp"
#include "toolstack/proto/frame.hpp"

#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/write.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace domus::daemon {
namespace {

namespace asio = boost::asio;
using engine::test::World;
using proto::Request;
using proto::Response;
using proto::Socket;
using testing::HasSubstr;

struct ServerTest : testing::Test {
    World world;
    Dispatcher dispatcher{*world.engine, world.hypervisor, world.host, world.hypervisor};
    Socket client{world.io};
    bool over = false; // the session has ended

    void SetUp() override {
        Socket server(world.io);
        asio::local::connect_pair(client, server);
        asio::co_spawn(world.io, serve_client(std::move(server), dispatcher),
                       [this](std::exception_ptr) { over = true; });
    }
    void TearDown() override {
        client.close();
        world.wait([this] { return over; });
    }
    void greet(std::uint32_t version = proto::kProtocolVersion) {
        proto::Hello hello;
        hello.set_version(version);
        hello.set_program("tester");
        world.run(proto::send(client, hello));
        world.run(proto::receive(client, hello));
        EXPECT_EQ(hello.program(), "domusd");
        EXPECT_EQ(hello.version(), proto::kProtocolVersion);
    }
    Response answer() {
        Response response;
        world.run(proto::receive(client, response));
        return response;
    }
    Response ask(const Request& request) {
        world.run(proto::send(client, request));
        return answer();
    }
    static Request list() {
        Request request;
        request.mutable_list();
        return request;
    }
    Request create() const {
        Request request;
        *request.mutable_create()->mutable_config() = proto::to_proto(world.guest("web"));
        return request;
    }
};

TEST_F(ServerTest, OneRequestAfterTheOther) {
    greet();
    EXPECT_EQ(ask(list()).list().domains_size(), 1);
    Request wrong;
    wrong.mutable_destroy()->set_domain("absent");
    EXPECT_THAT(ask(wrong).error().message(), HasSubstr("no guest called absent"));
    EXPECT_EQ(ask(list()).list().domains_size(), 1) << "an error does not end the session";
}

TEST_F(ServerTest, StagesComeBeforeTheAnswer) {
    greet();
    std::vector<std::string> stages;
    Response response = ask(create());
    while (response.has_stage()) {
        stages.push_back(response.stage().text());
        response = answer();
    }
    ASSERT_TRUE(response.has_created()) << response.ShortDebugString();
    EXPECT_EQ(response.created().domid(), 1u);
    EXPECT_GT(response.created().seconds(), 0.0);
    ASSERT_GE(stages.size(), 4u);
    EXPECT_EQ(stages.front(), "creating the domain");
    EXPECT_THAT(stages.back(), HasSubstr("attaching network card"));
}

TEST_F(ServerTest, AnotherVersionIsAnsweredAndTurnedAway) {
    greet(proto::kProtocolVersion + 1);
    world.wait([this] { return over; });
    EXPECT_THAT(world.log(), HasSubstr("turned away"));
}

TEST_F(ServerTest, GarbageEndsTheSessionOnly) {
    asio::write(client, asio::buffer("GET / HTTP/1.1\r\n\r\n", 18));
    world.wait([this] { return over; });
    EXPECT_THAT(world.log(), HasSubstr("turned away: a frame of"));
}

TEST_F(ServerTest, GarbageAfterTheGreeting) {
    greet();
    asio::write(client, asio::buffer("\x03\0\0\0\xff\xff\xff", 7));
    world.wait([this] { return over; });
}

TEST_F(ServerTest, AClientThatLeavesBeforeItsAnswerDoesNotStopTheWork) {
    greet();
    world.builder.meanwhile = [this]() -> asio::awaitable<void> {
        client.close();
        co_return;
    };
    world.run(proto::send(client, create()));
    world.wait([this] { return over; });
    EXPECT_EQ(world.hypervisor.domains().size(), 2u) << "the guest was created all the same";
    EXPECT_EQ(world.store->read("/local/domain/1/name"), "web");
}

TEST_F(ServerTest, AClientThatDoesNotReadLosesStagesNotMemory) {
    greet();
    world.builder.meanwhile = []() -> asio::awaitable<void> { co_return; };
    world.run(proto::send(client, create()));
    world.wait([this] {
        return world.hypervisor.domains().size() == 2 && world.records.kept.size() == 1 &&
               !world.records.kept.begin()->second.building;
    });
    Response last = answer();
    while (last.has_stage())
        last = answer();
    EXPECT_TRUE(last.has_created());
}

TEST_F(ServerTest, TheSocketIsRootsAndReplacesADeadOne) {
    const std::string path = world.folder + "/domusd.sock";
    { const auto dead = listen_at(world.io.get_executor(), path); }
    auto acceptor = listen_at(world.io.get_executor(), path);
    struct stat info = {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    bool ended = false;
    asio::co_spawn(world.io, serve(acceptor, dispatcher), [&](std::exception_ptr) { ended = true; });
    client.close();
    client = Socket(world.io);
    client.connect(asio::local::stream_protocol::endpoint(path));
    greet();
    EXPECT_EQ(ask(list()).list().domains_size(), 1);
    client.close();
    acceptor.close();
    world.wait([&] { return ended; });
}

TEST_F(ServerTest, APathThatCannotBeListenedAtIsAnErrorWithAdvice) {
    try {
        listen_at(world.io.get_executor(), world.folder + "/absent/domusd.sock");
        ADD_FAILURE() << "it listens";
    } catch (const std::runtime_error& e) {
        EXPECT_THAT(e.what(), HasSubstr("give another by --socket"));
    }
}

} // namespace
} // namespace domus::daemon
