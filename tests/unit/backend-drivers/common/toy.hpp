// A world for a backend in one process: a real store, a guest's memory and events as fakes, and the smallest driver.
// Test code.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <unistd.h>

#include "backend-drivers/common/device.hpp"
#include "tests/unit/hypervisor/client/fake_events.hpp"
#include "tests/unit/hypervisor/client/fake_grants.hpp"
#include "tests/unit/toolstack/fake/store.hpp"

namespace domus::backend::test {

struct World : testing::Test {
    asio::io_context io{1};
    std::string socket = testing::TempDir() + "domus-toy-" + std::to_string(::getpid());
    engine::test::Faults faults;
    engine::test::StoreServer store{io, socket, faults};
    std::shared_ptr<client::test::FakeGrants> grants = std::make_shared<client::test::FakeGrants>();
    client::test::FakeEvents* events = new client::test::FakeEvents;
    GuestAccess access{grants, std::make_shared<client::EventChannels>(
                                   io.get_executor(), std::unique_ptr<client::RawEventChannels>(events))};
    std::shared_ptr<xenstore::Client> client;
    DeviceId id{"/local/domain/0", "domus-toy", 3, 7};
    std::string front = "/local/domain/3/device/toy/7";
    std::exception_ptr failure;

    World() {
        spawn([](World& world) -> asio::awaitable<void> {
            world.client = co_await xenstore::Client::connect(world.socket);
        });
        until([&] { return client != nullptr; });
    }
    ~World() override {
        client.reset();
        io.run_for(std::chrono::milliseconds(20));
        std::filesystem::remove(socket);
    }

    void spawn(std::function<asio::awaitable<void>(World&)> work) {
        auto kept = std::make_shared<std::function<asio::awaitable<void>(World&)>>(std::move(work));
        asio::co_spawn(io, (*kept)(*this), [this, kept](std::exception_ptr thrown) { failure = thrown; });
    }
    /// Lets things happen until it is so; false when it does not come.
    bool until(const std::function<bool()>& so) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!so() && std::chrono::steady_clock::now() < end) {
            io.restart();
            io.run_one_for(std::chrono::milliseconds(10));
        }
        return so();
    }
    void settle() {
        io.restart();
        io.run_for(std::chrono::milliseconds(30));
    }

    void write_device() {
        store.write(front + "/state", "1");
        store.write(id.path() + "/frontend", front);
        store.write(id.path() + "/frontend-id", std::to_string(id.domid));
        store.write(id.path() + "/online", "1");
        store.write(id.path() + "/state", "1");
    }
    std::string mine() { return store.read(id.path() + "/state").value_or("none"); }
    void frontend(State state) { store.write(front + "/state", to_text(state)); }
    bool becomes(State state) {
        return until([&] { return mine() == to_text(state); });
    }
};

/// Says what was asked of it, and fails where it is told to.
struct ToyDriver : Driver {
    struct Script {
        std::vector<std::string> calls;
        std::string fail_at;
        bool can_resume = true;
        Device* device = nullptr;
        std::vector<std::string> reads;              ///< of the frontend's nodes, when it connects
        std::function<void()> at_disconnect = [] {}; ///< once
    };
    explicit ToyDriver(Script& script) : script_(script) {}

    void called(const std::string& what) {
        script_.calls.push_back(what);
        if (script_.fail_at == what) {
            throw std::runtime_error("no luck with " + what);
        }
    }
    asio::awaitable<Nodes> offer() override {
        called("offer");
        Nodes nodes{{"feature-toy", "1"}};
        co_return nodes;
    }
    asio::awaitable<Nodes> connect() override {
        called("connect");
        co_await read();
        Nodes nodes{{"size", "5"}};
        co_return nodes;
    }
    asio::awaitable<bool> resume() override {
        called("resume");
        co_await read();
        co_return script_.can_resume;
    }
    asio::awaitable<void> disconnect() override {
        called("disconnect");
        std::exchange(script_.at_disconnect, [] {})();
        co_return;
    }

    asio::awaitable<void> read() {
        for (const auto& name : script_.reads) {
            (void)co_await script_.device->frontend_node(name);
        }
    }

    Script& script_;
};

} // namespace domus::backend::test
