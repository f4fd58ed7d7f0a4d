// A backend's device in a World: started, connected, killed as by kill -9. What a driver's own tests build on. Test
// code.
#pragma once

#include <memory>
#include <string>

#include "tests/unit/backend-drivers/common/toy.hpp"

namespace domus::backend::test {

struct DeviceWorld : World {
    std::unique_ptr<Device> device;
    bool ended = false;

    /// Destructors of what inherits call kill(): a driver must not outlive what it was made with.
    ~DeviceWorld() override { EXPECT_EQ(device, nullptr); }

    virtual std::unique_ptr<Driver> make(Device& made) = 0;
    /// What has to happen for a stopped device to end (a medium that answers).
    virtual void let_end() {}

    /// Grants 1 to 1023.
    void grant_pages() {
        for (std::uint32_t i = 1; i < 1024; ++i) {
            grants->grant(i);
        }
    }
    void start() {
        ended = false;
        device = std::make_unique<Device>(client, access, id, [this](Device& made) { return make(made); });
        spawn([this](World&) -> asio::awaitable<void> {
            co_await device->run();
            ended = true;
        });
    }
    /// As kill -9: nothing is written to the store.
    void kill() {
        if (device) {
            device->stop();
            settle();
            EXPECT_TRUE(until([&] {
                let_end();
                return ended;
            }));
            device.reset();
            settle();
        }
    }
    /// The frontend has written its nodes.
    void take() {
        frontend(State::Initialised);
        ASSERT_TRUE(becomes(State::Connected)) << error();
        frontend(State::Connected);
        settle();
    }
    std::string error() { return store.read(id.error_path()).value_or(""); }
};

} // namespace domus::backend::test
