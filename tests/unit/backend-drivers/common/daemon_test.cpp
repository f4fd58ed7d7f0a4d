// A daemon's devices: each gets a driver when it comes, and what is left of it is removed when it goes.
#include "backend-drivers/common/daemon.hpp"

#include "toy.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

namespace domus::backend::test {
namespace {

struct ToyService final : Service {
    ToyDriver::Script script;
    std::vector<std::string> made, gone;

    Words words() const override { return {"toyd", "Serves toys.", "domus-toy", "toys", "root"}; }
    std::unique_ptr<Driver> make_driver(Device&, const Files& files) override {
        made.push_back(files.figures);
        return std::make_unique<ToyDriver>(script);
    }
    void removed(const Files& files) override { gone.push_back(files.name); }
};

struct DaemonTest : World {
    ToyService service;
    asio::cancellation_signal stop;
    bool ended = false;

    DaemonTest() {
        Serving serving{.executor = io.get_executor(),
                        .store = client,
                        .access = access,
                        .home = "/local/domain/0",
                        .figures = "/figures",
                        .device_lost = [this](const std::exception_ptr& thrown) { failure = thrown; }};
        asio::co_spawn(io, serve_devices(service, std::move(serving)),
                       asio::bind_cancellation_slot(stop.slot(), [this](std::exception_ptr) { ended = true; }));
    }
    ~DaemonTest() override {
        store.remove(id.path());
        EXPECT_TRUE(until([&] { return service.gone.size() == service.made.size(); }));
        settle();
        stop.emit(asio::cancellation_type::terminal);
        EXPECT_TRUE(until([&] { return ended; }));
        EXPECT_EQ(failure, nullptr);
    }
};

TEST_F(DaemonTest, ADeviceIsServedUntilItIsTakenAway) {
    write_device();
    ASSERT_TRUE(becomes(State::InitWait));
    EXPECT_EQ(service.made, std::vector<std::string>{"/figures/domus-toy/3-7"});
    store.remove(id.path());
    ASSERT_TRUE(until([&] { return !service.gone.empty(); }));
    EXPECT_EQ(service.gone, std::vector<std::string>{"domus-toy-3-7"});
    write_device();
    ASSERT_TRUE(until([&] { return service.made.size() == 2; })) << "the same device again";
}

TEST_F(DaemonTest, TwoDevicesHaveTwoDrivers) {
    write_device();
    ASSERT_TRUE(becomes(State::InitWait));
    const auto first = id;
    id.devid = 8;
    write_device();
    ASSERT_TRUE(becomes(State::InitWait));
    EXPECT_EQ(service.made.size(), 2u);
    store.remove(first.path());
    ASSERT_TRUE(until([&] { return !service.gone.empty(); }));
    EXPECT_EQ(service.gone, std::vector<std::string>{"domus-toy-3-7"});
}

} // namespace
} // namespace domus::backend::test
