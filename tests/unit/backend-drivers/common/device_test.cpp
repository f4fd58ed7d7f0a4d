// A device's life in a real store: connect, close, reconnect, unplug, failures, a restart of the backend.
#include "device_world.hpp"

namespace domus::backend::test {
namespace {

using Calls = std::vector<std::string>;

struct DeviceTest : DeviceWorld {
    ToyDriver::Script script;

    std::unique_ptr<Driver> make(Device& made) override {
        script.device = &made;
        return std::make_unique<ToyDriver>(script);
    }
    /// The next process begins with a clean sheet.
    void kill_backend() {
        kill();
        script.calls.clear();
    }
    void connect() {
        write_device();
        start();
        ASSERT_TRUE(becomes(State::InitWait));
        take();
    }
    ~DeviceTest() override { kill(); }
};

TEST_F(DeviceTest, ConnectsAndPublishesInOrder) {
    connect();
    EXPECT_EQ(script.calls, (Calls{"offer", "connect"}));
    EXPECT_EQ(store.read(id.path() + "/feature-toy"), "1");
    EXPECT_EQ(store.read(id.path() + "/size"), "5");
}

TEST_F(DeviceTest, AFrontendClosesAndComesBackAThousandTimes) {
    connect();
    for (int i = 0; i < 1000; ++i) {
        frontend(State::Closing);
        ASSERT_TRUE(becomes(State::Closing)) << i;
        frontend(State::Closed);
        ASSERT_TRUE(becomes(State::Closed)) << i;
        frontend(State::Initialising);
        ASSERT_TRUE(becomes(State::InitWait)) << i;
        frontend(State::Initialised);
        ASSERT_TRUE(becomes(State::Connected)) << i;
    }
    EXPECT_EQ(std::count(script.calls.begin(), script.calls.end(), "disconnect"), 1000);
    EXPECT_EQ(std::count(script.calls.begin(), script.calls.end(), "connect"), 1001);
}

// Linux's blkfront, taken off its driver and put back: its probe looks for no state but the backend's.
TEST_F(DeviceTest, AFrontendThatIsBackBeforeTheBackendHasClosedIsServed) {
    connect();
    script.at_disconnect = [this] { frontend(State::Connected); };
    frontend(State::Closed);
    EXPECT_TRUE(until([&] { return std::count(script.calls.begin(), script.calls.end(), "connect") == 2; }));
    EXPECT_TRUE(becomes(State::Connected));
    EXPECT_EQ(script.calls, (Calls{"offer", "connect", "disconnect", "offer", "connect"}));
}

// The same, so quick that nobody saw it close: its nodes are others.
TEST_F(DeviceTest, AFrontendThatWasAwayUnseenIsConnectedAnew) {
    script.reads = {"ring-ref", "queue-0/ring-ref"};
    store.write(front + "/ring-ref", "8");
    connect();
    frontend(State::Connected);
    settle();
    EXPECT_EQ(script.calls, (Calls{"offer", "connect"})) << "the same nodes are the same connection";
    store.write(front + "/unread", "1");
    frontend(State::Connected);
    settle();
    EXPECT_EQ(script.calls, (Calls{"offer", "connect"})) << "a node that nobody asked for is nobody's business";
    store.write(front + "/ring-ref", "9");
    frontend(State::Connected);
    EXPECT_TRUE(until([&] { return script.calls.size() == 5; }));
    EXPECT_EQ(script.calls, (Calls{"offer", "connect", "disconnect", "offer", "connect"}));
    EXPECT_TRUE(becomes(State::Connected));
    kill_backend();
    start();
    settle();
    store.write(front + "/queue-0/ring-ref", "10");
    frontend(State::Connected);
    EXPECT_TRUE(until([&] { return script.calls.size() == 4; }));
    EXPECT_EQ(script.calls, (Calls{"resume", "disconnect", "offer", "connect"}));
}

TEST_F(DeviceTest, AFrontendThatCrashedAndBootsAgainIsTakenAnew) {
    connect();
    frontend(State::Initialising); // the guest's kernel began anew, or was restored from a file
    ASSERT_TRUE(becomes(State::InitWait));
    EXPECT_EQ(script.calls, (Calls{"offer", "connect", "disconnect", "offer"}));
}

TEST_F(DeviceTest, HotUnplugServesUntilTheFrontendLetsGo) {
    connect();
    store.write(id.path() + "/online", "0");
    store.write(id.path() + "/state", to_text(State::Closing));
    settle();
    EXPECT_EQ(script.calls, (Calls{"offer", "connect"})) << "the frontend may still have requests";
    frontend(State::Closed);
    ASSERT_TRUE(becomes(State::Closed));
    EXPECT_EQ(script.calls.back(), "disconnect");
    store.remove(id.path());
    EXPECT_TRUE(until([&] { return ended; }));
    EXPECT_FALSE(store.read(id.path() + "/state")) << "a removed directory must not come back";
}

TEST_F(DeviceTest, ARemovedDirectoryEndsAConnectedDevice) {
    connect();
    store.remove(id.path());
    EXPECT_TRUE(until([&] { return ended; }));
    EXPECT_EQ(script.calls.back(), "disconnect");
    EXPECT_TRUE(store.children(id.path()).empty());
}

TEST_F(DeviceTest, ADriverThatFailsIsReportedWhereTheToolstackLooks) {
    write_device();
    script.fail_at = "offer";
    start();
    ASSERT_TRUE(becomes(State::Closing));
    EXPECT_EQ(store.read(id.error_path()), "22 no luck with offer");
}

TEST_F(DeviceTest, AFrontendThatBreaksTheProtocolLosesTheDeviceAndMayComeBack) {
    connect();
    script.device->fail("its producer ran away");
    script.device->fail("a later reason");
    ASSERT_TRUE(becomes(State::Closing));
    EXPECT_EQ(script.calls.back(), "disconnect");
    EXPECT_EQ(store.read(id.error_path()), "22 its producer ran away");
    settle();
    EXPECT_EQ(script.calls.back(), "disconnect") << "a frontend that stays Connected is not served again";
    frontend(State::Closed);
    ASSERT_TRUE(becomes(State::Closed));
    frontend(State::Initialising);
    ASSERT_TRUE(becomes(State::InitWait));
}

TEST_F(DeviceTest, ANewProcessServesOn) {
    connect();
    kill_backend();
    EXPECT_EQ(mine(), to_text(State::Connected));
    start();
    settle();
    EXPECT_EQ(script.calls, (Calls{"resume"}));
    EXPECT_EQ(mine(), to_text(State::Connected)) << "the frontend must not notice";
}

TEST_F(DeviceTest, ANewProcessThatKnowsNothingClosesTheDevice) {
    connect();
    kill_backend();
    script.can_resume = false;
    start();
    ASSERT_TRUE(becomes(State::Closing));
    EXPECT_EQ(script.calls, (Calls{"resume", "disconnect"}));
    EXPECT_TRUE(store.read(id.error_path()));
}

TEST_F(DeviceTest, ANewProcessTakesWhatWasOnlyOffered) {
    write_device();
    start();
    ASSERT_TRUE(becomes(State::InitWait));
    kill_backend();
    frontend(State::Initialised);
    start();
    ASSERT_TRUE(becomes(State::Connected));
    EXPECT_EQ(script.calls, (Calls{"offer", "connect"}));
}

TEST_F(DeviceTest, ASizeThatChangesIsSaidAgain) {
    connect();
    spawn([this](World&) -> asio::awaitable<void> {
        Nodes nodes{{"size", "6"}};
        co_await script.device->publish_again(std::move(nodes));
    });
    EXPECT_TRUE(until([&] { return store.read(id.path() + "/size") == "6"; }));
    EXPECT_EQ(mine(), to_text(State::Connected));
}

TEST_F(DeviceTest, TheFrontendsNumbersAreChecked) {
    connect();
    store.write(front + "/ring-ref", "12");
    store.write(front + "/event-channel", "nonsense");
    std::optional<std::uint64_t> good;
    spawn([&](World&) -> asio::awaitable<void> { good = co_await script.device->frontend_need("ring-ref", 100); });
    EXPECT_TRUE(until([&] { return good == 12u; }));
    for (const char* name : {"event-channel", "absent"}) {
        failure = nullptr;
        spawn([&](World&) -> asio::awaitable<void> { co_await script.device->frontend_need(name, 100); });
        EXPECT_TRUE(until([&] { return failure != nullptr; })) << name;
    }
    failure = nullptr;
    spawn([&](World&) -> asio::awaitable<void> { co_await script.device->frontend_need("ring-ref", 11); });
    EXPECT_TRUE(until([&] { return failure != nullptr; })) << "12 is more than 11";
}

} // namespace
} // namespace domus::backend::test
