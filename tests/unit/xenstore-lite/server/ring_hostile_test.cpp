// Guests that lie in their ring: only they suffer.
#include "daemon_fixture.hpp"

#include <random>

namespace domus::xenstore::server {

class HostileRing : public DaemonTest {
protected:
    void SetUp() override {
        start();
        introduce(1);
        introduce(2);
    }
    void expect_others_are_served() {
        FakeGuest honest(machine, 2);
        EXPECT_EQ(ask(honest, {XS_WRITE, 77, 0, nul("data/alive") + "1"}).payload, nul("OK"));
    }
    xenstore_domain_interface& page() { return machine.shared->pages[1]; }
};

TEST_F(HostileRing, RequestIndexOutOfRange) {
    page().req_prod = page().req_cons + XENSTORE_RING_SIZE + 1;
    machine.signal(101);
    settle();
    EXPECT_EQ(page().error, static_cast<std::uint32_t>(XENSTORE_ERROR_RINGIDX));
    expect_others_are_served();
}

TEST_F(HostileRing, ReplyIndexOutOfRange) {
    FakeGuest guest(machine, 1);
    guest.deaf = true;
    page().rsp_cons = page().rsp_prod + 5;
    guest.send({XS_READ, 1, 0, nul("data")});
    settle();
    EXPECT_EQ(page().error, static_cast<std::uint32_t>(XENSTORE_ERROR_RINGIDX));
    expect_others_are_served();
}

TEST_F(HostileRing, RequestLongerThanAllowed) {
    const xsd_sockmsg header{XS_WRITE, 1, 0, XENSTORE_PAYLOAD_MAX + 1};
    std::memcpy(page().req, &header, sizeof header);
    page().req_prod = sizeof header;
    machine.signal(101);
    settle();
    EXPECT_EQ(page().error, static_cast<std::uint32_t>(XENSTORE_ERROR_PROTO));
    // The way back the protocol gives.
    page().connection = XENSTORE_RECONNECT;
    machine.signal(101);
    settle();
    FakeGuest guest(machine, 1);
    EXPECT_EQ(ask(guest, {XS_WRITE, 2, 0, nul("data/x") + "1"}).payload, nul("OK"));
    EXPECT_EQ(page().error, 0u);
}

TEST_F(HostileRing, AGuestThatNeverReadsIsHeldBack) {
    FakeGuest guest(machine, 1);
    ask(guest, {XS_WRITE, 1, 0, nul("data/x") + std::string(1000, 'x')});
    guest.deaf = true;
    for (std::uint32_t i = 0; i < 2000; ++i) {
        guest.send({XS_READ, i, 0, nul("data/x")});
        settle();
    }
    EXPECT_FALSE(guest.sent_all()); // its ring stays full: the daemon keeps a bounded number of replies
    EXPECT_LT(std::filesystem::file_size(options.state_folder / "journal"), 3u * 1024 * 1024);
    expect_others_are_served();
    guest.deaf = false; // and goes on where it stopped
    std::uint32_t expected = 0;
    for (int round = 0; round < 20000 && expected < 2000; ++round) {
        guest.pump();
        settle();
        while (auto message = guest.receive()) {
            EXPECT_EQ(message->req_id, expected++);
        }
    }
    EXPECT_EQ(expected, 2000u);
}

// Linux's netfront does so while it waits for its backend to close: the nested sleep of a read ends its own.
TEST_F(HostileRing, AGuestThatAsksWithoutPauseDoesNotKeepTheToolsWaiting) {
    FakeGuest guest(machine, 1);
    auto tools = connect();
    constexpr int most = 10000;
    int asked = 0;
    platform->on_notify = [&](Port port) { // each answer is fetched at once, and the next request is there
        if (port == 101 && asked < most) {
            guest.pump();
            while (guest.receive()) {
                ++asked;
                guest.send({XS_READ, 1, 0, nul("data")});
            }
        }
    };
    guest.send({XS_READ, 1, 0, nul("data")});
    run(tools->write("/tool/alive", "1"));
    EXPECT_GT(asked, 0) << "the guest was not asking";
    EXPECT_LT(asked, 100) << "the tools' request waited for the guest's";
    platform->on_notify = nullptr;
}

TEST_F(HostileRing, IndicesScribbledOverWhileTheDaemonIsDown) {
    FakeGuest guest(machine, 1);
    ask(guest, {XS_WRITE, 1, 0, nul("data/x") + "1"});
    stop();
    page().rsp_prod += 1000;
    page().req_cons += 1000;
    start();
    EXPECT_EQ(page().error, static_cast<std::uint32_t>(XENSTORE_ERROR_RINGIDX));
    expect_others_are_served();
}

TEST_F(HostileRing, RandomPagesAndEvents) {
    std::mt19937 random(7);
    for (int round = 0; round < 300; ++round) {
        auto* bytes = reinterpret_cast<unsigned char*>(&page());
        for (auto count = random() % 200; count != 0; --count) {
            bytes[random() % sizeof(xenstore_domain_interface)] = static_cast<unsigned char>(random() % 24);
        }
        if (random() % 2) {
            page().req_prod = page().req_cons + random() % 1024;
        }
        page().connection = random() % 4 == 0;
        machine.signal(101);
        settle();
        if (round % 50 == 0) {
            stop();
            start();
        }
    }
    expect_others_are_served();
}

} // namespace domus::xenstore::server
