// Guests over rings: requests longer than the ring, restarts at awkward moments, reconnecting, death.
#include "daemon_fixture.hpp"

namespace domus::xenstore::server {

using RingTest = DaemonTest;

TEST_F(RingTest, AnswersAGuest) {
    start();
    introduce(1);
    FakeGuest guest(machine, 1);
    EXPECT_EQ(ask(guest, {XS_WRITE, 5, 0, nul("data/x") + "value"}), (wire::Message{XS_WRITE, 5, 0, nul("OK")}));
    EXPECT_EQ(ask(guest, {XS_READ, 6, 0, nul("data/x")}), (wire::Message{XS_READ, 6, 0, "value"}));
    EXPECT_EQ(ask(guest, {XS_READ, 7, 0, nul("/tool")}), (wire::Message{XS_ERROR, 7, 0, nul("EACCES")}));
    EXPECT_GT(machine.shared->told[1], 0u);
    EXPECT_EQ(machine.shared->pages[1].server_features & 3, 3u);
}

TEST_F(RingTest, MessagesMayBeLongerThanTheRing) {
    start();
    introduce(1);
    FakeGuest guest(machine, 1);
    const std::string value(2000, 'v');
    for (std::uint32_t i = 1; i < 20; ++i) { // the positions wrap around the ring in every way
        EXPECT_EQ(ask(guest, {XS_WRITE, i, 0, nul("data/x") + value.substr(i)}).type,
                  static_cast<std::uint32_t>(XS_WRITE));
        EXPECT_EQ(ask(guest, {XS_READ, i, 0, nul("data/x")}).payload, value.substr(i));
    }
}

TEST_F(RingTest, IndicesWrapAt32Bits) {
    auto& page = machine.shared->pages[1];
    page.req_cons = page.req_prod = page.rsp_cons = page.rsp_prod = 0xfffffff0;
    start();
    introduce(1);
    FakeGuest guest(machine, 1);
    for (std::uint32_t i = 1; i < 5; ++i) {
        EXPECT_EQ(ask(guest, {XS_WRITE, i, 0, nul("data/x") + "12345"}).payload, nul("OK"));
    }
    stop();
    start();
    EXPECT_EQ(ask(guest, {XS_READ, 9, 0, nul("data/x")}).payload, "12345");
}

TEST_F(RingTest, ARestartBetweenAnyTwoBytesGoesUnnoticed) {
    start();
    introduce(1);
    FakeGuest guest(machine, 1);
    ask(guest, {XS_WATCH, 1, 0, wire::join({"data", "t"})});
    const std::string bytes = wire::encode({XS_WRITE, 2, 0, nul("data/x") + "value"});
    auto& page = machine.shared->pages[1];
    for (const char byte : bytes) { // the daemon takes each byte in a life of its own
        page.req[MASK_XENSTORE_IDX(page.req_prod)] = byte;
        ++page.req_prod;
        guest.signal();
        settle();
        EXPECT_EQ(page.req_cons, page.req_prod);
        stop();
        start();
    }
    events.clear();
    EXPECT_EQ(ask(guest, {XS_READ, 3, 0, nul("data/x")}).payload, nul("OK")); // the write's reply comes first
    settle();
    guest.pump();
    const auto read = guest.receive();
    ASSERT_TRUE(read);
    EXPECT_EQ(read->payload, "value");
    ASSERT_EQ(events.size(), 2u); // of setting the watch, and of the write, once each
    EXPECT_EQ(events[1].payload, wire::join({"data/x", "t"}));
}

TEST_F(RingTest, RepliesWaitingAtACrashAreNeitherLostNorDoubled) {
    start();
    introduce(1);
    FakeGuest guest(machine, 1);
    ask(guest, {XS_WRITE, 1, 0, nul("data/x") + std::string(700, 'x')});
    guest.deaf = true;
    for (std::uint32_t i = 10; i < 30; ++i) {
        guest.send({XS_READ, i, 0, nul("data/x")});
        settle();
        if (i % 5 == 0) {
            stop();
            start();
        }
    }
    guest.deaf = false;
    std::uint32_t expected = 10;
    for (int round = 0; round < 2000 && expected < 30; ++round) {
        guest.pump();
        settle();
        while (auto message = guest.receive()) {
            EXPECT_EQ(message->req_id, expected++);
            EXPECT_EQ(message->payload, std::string(700, 'x'));
        }
    }
    EXPECT_EQ(expected, 30u);
}

TEST_F(RingTest, OpenTransactionsEndWithAgainAfterARestart) {
    start();
    introduce(1);
    FakeGuest guest(machine, 1);
    const auto started = ask(guest, {XS_TRANSACTION_START, 1, 0, nul("")});
    const auto tx = static_cast<std::uint32_t>(std::stoul(started.payload));
    ask(guest, {XS_WRITE, 2, tx, nul("data/x") + "1"});
    stop();
    start();
    EXPECT_EQ(ask(guest, {XS_WRITE, 3, tx, nul("data/y") + "1"}).payload, nul("OK"));
    EXPECT_EQ(ask(guest, {XS_TRANSACTION_END, 4, tx, nul("T")}).payload, nul("EAGAIN"));
    EXPECT_EQ(ask(guest, {XS_READ, 5, 0, nul("data/y")}).payload, nul("ENOENT"));
}

TEST_F(RingTest, AGuestMayAskForAFreshRing) {
    start();
    introduce(1);
    FakeGuest guest(machine, 1);
    ask(guest, {XS_WATCH, 1, 0, wire::join({"data", "t"})});
    auto& page = machine.shared->pages[1];
    page.req_prod += 7; // half a request
    page.connection = XENSTORE_RECONNECT;
    guest.signal();
    settle();
    EXPECT_EQ(page.connection, static_cast<std::uint32_t>(XENSTORE_CONNECTED));
    EXPECT_EQ(page.req_prod, 0u);
    EXPECT_EQ(page.rsp_prod, 0u);
    FakeGuest fresh(machine, 1);
    events.clear();
    EXPECT_EQ(ask(fresh, {XS_WRITE, 2, 0, nul("data/x") + "1"}).payload, nul("OK"));
    EXPECT_TRUE(events.empty()); // the watch is gone
    stop();
    start();
    EXPECT_EQ(ask(fresh, {XS_READ, 3, 0, nul("data/x")}).payload, "1");
}

TEST_F(RingTest, ADeadDomainsRingIsUnmappedAndItsTracesRemoved) {
    start();
    introduce(1);
    FakeGuest guest(machine, 1);
    ask(guest, {XS_WRITE, 1, 0, nul("data/x") + "1"});
    EXPECT_TRUE(platform->mapped.contains(1));
    auto tools = connect();
    auto watch = run(tools->watch("@releaseDomain"));
    EXPECT_EQ(run(watch->next()), "@releaseDomain");
    machine.shared->dying[1] = true;
    machine.signal(FakePlatform::exit_port);
    EXPECT_EQ(run(watch->next()), "@releaseDomain");
    EXPECT_FALSE(platform->mapped.contains(1));
    EXPECT_FALSE(platform->bound.contains(101));
    EXPECT_FALSE(run(tools->try_read("/local/domain/1/data/x")));
}

TEST_F(RingTest, ADeathWhileNobodyLookedIsFoundAtStart) {
    start();
    introduce(1);
    stop();
    machine.shared->exists[1] = false;
    start();
    auto tools = connect();
    EXPECT_FALSE(run(tools->is_introduced(1)));
    EXPECT_FALSE(run(tools->try_read("/local/domain/1/data")));
}

TEST_F(RingTest, OurOwnKernelIsConnectedAndPrivileged) {
    start(true);
    EXPECT_GT(machine.shared->told[0], 0u); // it waits to be told that we are up
    FakeGuest kernel(machine, 0);
    EXPECT_EQ(ask(kernel, {XS_WRITE, 1, 0, nul("/any/where") + "1"}).payload, nul("OK"));
    ask(kernel, {XS_WATCH, 2, 0, wire::join({"/any", "t"})});
    stop();
    start(true);
    events.clear();
    EXPECT_EQ(ask(kernel, {XS_WRITE, 3, 0, nul("/any/where") + "2"}).payload, nul("OK"));
    ask(kernel, {XS_READ, 4, 0, nul("/any/where")});
    ASSERT_FALSE(events.empty());
    EXPECT_EQ(events.back().payload, wire::join({"/any/where", "t"}));
}

} // namespace domus::xenstore::server
