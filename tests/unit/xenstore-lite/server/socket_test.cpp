// The unix socket and the asynchronous client: the whole API, and a daemon that goes away and comes back.
#include "daemon_fixture.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/write.hpp>

namespace domus::xenstore::server {

using SocketTest = DaemonTest;
using boost::system::system_error;

TEST_F(SocketTest, ReadsWritesAndLists) {
    start();
    auto client = connect();
    run([](std::shared_ptr<Client> xs) -> asio::awaitable<void> {
        co_await xs->write("/a/b", std::string("v\0w", 3));
        EXPECT_EQ(co_await xs->read("/a/b"), std::string("v\0w", 3));
        EXPECT_EQ(co_await xs->try_read("/a/c"), std::nullopt);
        co_await xs->mkdir("/a/d");
        const auto names = co_await xs->directory("/a");
        EXPECT_EQ(names, (std::vector<std::string>{"b", "d"}));
        co_await xs->rm("/a/b");
        co_await xs->rm("/nowhere/at/all");
        std::vector<Permission> list;
        list.push_back({0, 'r'});
        co_await xs->set_permissions("/a", list);
        const auto permissions = co_await xs->get_permissions("/a");
        EXPECT_EQ(permissions, list);
        EXPECT_EQ(co_await xs->domain_path(3), "/local/domain/3");
        EXPECT_FALSE(co_await xs->is_introduced(3));
    }(client));
}

TEST_F(SocketTest, ErrorsNameThePath) {
    start();
    auto client = connect();
    try {
        run(client->read("/no/such/node"));
        FAIL();
    } catch (const system_error& error) {
        EXPECT_EQ(error.code().value(), ENOENT);
        EXPECT_THAT(error.what(), testing::HasSubstr("/no/such/node"));
    }
    EXPECT_THROW(run(client->write("/a", std::string(5000, 'x'))), system_error);
    EXPECT_THROW(run(client->write("no//good", "")), system_error);
    EXPECT_THROW(run(Client::connect((folder.path() / "nobody").string())), system_error);
}

// At any moment of theirs: they fail, and touch nothing that went with the client.
TEST_F(SocketTest, AClientMayGoAwayWithRequestsInFlight) {
    start();
    for (unsigned steps = 4; steps < 40; ++steps) {
        auto client = connect();
        int ended = 0;
        asio::co_spawn(context, client->watch("/local"),
                       [&](std::exception_ptr, std::shared_ptr<Watch> watch) { ended += 1 + !watch; });
        asio::co_spawn(context, client->transaction_start(), [&](std::exception_ptr, Tx) { ++ended; });
        for (unsigned i = 0; i < steps; ++i) {
            context.restart();
            context.poll_one();
        }
        client.reset();
        settle();
        EXPECT_GE(ended, 2) << steps;
    }
}

TEST_F(SocketTest, ListsMoreThanOneMessageHolds) {
    start();
    auto client = connect();
    const auto names = run([](std::shared_ptr<Client> xs) -> asio::awaitable<std::vector<std::string>> {
        for (int i = 0; i < 700; ++i) {
            co_await xs->write("/many/a-name-of-some-length-" + std::to_string(i), "");
        }
        co_return co_await xs->directory("/many");
    }(client));
    EXPECT_EQ(names.size(), 700u);
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 700u);
}

TEST_F(SocketTest, TransactionsRetryOnConflict) {
    start();
    auto one = connect();
    auto other = connect();
    int attempts = 0;
    run([](std::shared_ptr<Client> xs, std::shared_ptr<Client> rival, int& count) -> asio::awaitable<void> {
        co_await xs->write("/counter", "1");
        auto body = [&](Tx tx) -> asio::awaitable<void> {
            const std::string value = co_await xs->read("/counter", tx);
            if (++count == 1) {
                co_await rival->write("/counter", "10");
            }
            const std::string next = std::to_string(std::stoi(value) + 1);
            co_await xs->write("/counter", next, tx);
        };
        co_await xs->transaction(body);
    }(one, other, attempts));
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(run(one->read("/counter")), "11");
}

TEST_F(SocketTest, ATransactionWhoseBodyThrowsIsAborted) {
    start();
    auto client = connect();
    auto body = [&](Tx tx) -> asio::awaitable<void> {
        co_await client->write("/a", "1", tx);
        throw std::runtime_error("changed my mind");
    };
    EXPECT_THROW(run(client->transaction(body)), std::runtime_error);
    EXPECT_FALSE(run(client->try_read("/a")));
}

TEST_F(SocketTest, WatchesTellAndEndWithTheirObject) {
    start();
    auto client = connect();
    auto watch = run(client->watch("/a"));
    EXPECT_EQ(run(watch->next()), "/a");
    run(client->write("/a/b", "1"));
    EXPECT_EQ(run(watch->next()), "/a/b");
    watch.reset();
    run(client->write("/a/b", "2"));
}

TEST_F(SocketTest, NodesInOneGo) {
    start();
    auto client = connect();
    run([](std::shared_ptr<Client> xs) -> asio::awaitable<void> {
        std::vector<Client::Node> nodes;
        for (int i = 0; i < 500; ++i) {
            nodes.push_back({"/many/" + std::to_string(i), "v" + std::to_string(i), {}});
        }
        nodes.push_back({"/many/7/own", "x", {{0, 'b'}}});
        co_await xs->write_nodes(std::move(nodes));
        EXPECT_EQ(co_await xs->read("/many/499"), "v499");
        const auto own = co_await xs->get_permissions("/many/7/own");
        EXPECT_EQ(own, (std::vector<Permission>{{0, 'b'}}));
        std::vector<Client::Node> broken;
        broken.push_back({"/first", "1", {}});
        broken.push_back({"bad path", "2", {}});
        broken.push_back({"/third//", "3", {}});
        std::string message;
        const Tx tx = co_await xs->transaction_start();
        try {
            co_await xs->write_nodes(std::move(broken), tx);
        } catch (const system_error& error) {
            message = error.what();
        }
        EXPECT_NE(message.find("bad path"), std::string::npos) << message;
        co_await xs->transaction_end(tx, false);
        const auto first = co_await xs->try_read("/first");
        EXPECT_FALSE(first.has_value());
    }(client));
}

TEST_F(SocketTest, ManyRequestsAtOnce) {
    using namespace asio::experimental::awaitable_operators;
    start();
    auto client = connect();
    run(client->write("/a", "1"));
    run(client->write("/b", "2"));
    const auto [a, b] = run(client->read("/a") && client->read("/b"));
    EXPECT_EQ(a + b, "12");
}

TEST_F(SocketTest, TheClientOutlivesARestartOfTheDaemon) {
    start();
    auto client = connect();
    run(client->write("/a", "1"));
    auto watch = run(client->watch("/a"));
    run(watch->next());
    const Tx stale = run(client->transaction_start());
    stop();
    start();
    EXPECT_EQ(run(client->read("/a")), "1");
    EXPECT_EQ(run(watch->next()), "/a"); // fires once when it is set again
    auto other = connect();
    run(other->write("/a/x", "2"));
    EXPECT_EQ(run(watch->next()), "/a/x");
    EXPECT_FALSE(run(client->transaction_end(stale, true))); // to be started again
    EXPECT_THROW(run(client->write("/a", "2", stale)), system_error);
}

TEST_F(SocketTest, ATransactionGoesOnOverARestart) {
    start();
    auto client = connect();
    int attempts = 0;
    auto body = [&](Tx tx) -> asio::awaitable<void> {
        if (++attempts == 1) {
            stop();
            start();
        }
        co_await client->write("/a", "1", tx);
    };
    // The daemon is replaced from within, so this runs step by step.
    auto result = asio::co_spawn(context, client->transaction([&](Tx tx) { return body(tx); }), asio::use_future);
    for (int i = 0; i < 200 && result.wait_for(std::chrono::milliseconds(0)) != std::future_status::ready; ++i) {
        context.restart();
        context.run_for(std::chrono::milliseconds(10));
    }
    ASSERT_EQ(result.wait_for(std::chrono::milliseconds(0)), std::future_status::ready);
    result.get();
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(run(client->read("/a")), "1");
}

TEST_F(SocketTest, GarbageClosesOnlyItsOwnConnection) {
    start();
    auto client = connect();
    asio::local::stream_protocol::socket raw(context);
    raw.connect(asio::local::stream_protocol::endpoint(options.socket.string()));
    asio::write(raw, asio::buffer(std::string(100, '\xff')));
    settle();
    char byte = 0;
    boost::system::error_code error;
    raw.read_some(asio::buffer(&byte, 1), error);
    EXPECT_EQ(error, asio::error::eof);
    run(client->write("/a", "1"));
}

TEST_F(SocketTest, AClientThatDoesNotReadIsBounded) {
    start();
    auto writer = connect();
    run(writer->write("/big", std::string(3000, 'x')));
    asio::local::stream_protocol::socket raw(context);
    raw.connect(asio::local::stream_protocol::endpoint(options.socket.string()));
    raw.non_blocking(true);
    const std::string request = wire::encode({XS_READ, 1, 0, nul("/big")});
    std::size_t sent = 0;
    boost::system::error_code error;
    for (int i = 0; i < 200000 && error != asio::error::would_block; ++i) {
        sent += raw.write_some(asio::buffer(request), error);
        if (i % 100 == 0 || error) {
            settle();
            raw.write_some(asio::buffer(request.substr(0, 0)), error);
        }
    }
    settle();
    EXPECT_LT(sent / request.size() * 3000, 64u * 1024 * 1024);
    EXPECT_EQ(run(writer->read("/big")).size(), 3000u);
}

} // namespace domus::xenstore::server
