// A daemon in this process, with its socket in a temporary folder and guests on fake rings.
#pragma once

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>

#include "fake_platform.hpp"
#include "temporary_folder.hpp"
#include "xenstore-lite/client/client.hpp"
#include "xenstore-lite/server/daemon.hpp"

namespace domus::xenstore::server {

class DaemonTest : public testing::Test {
protected:
    DaemonTest() {
        machine.shared->exists[0] = true;
        options.socket = folder.path() / "run/socket";
        options.state_folder = folder.path() / "state";
    }
    ~DaemonTest() override { stop(); }

    void start(bool own_kernel = false) {
        platform = std::make_unique<FakePlatform>(machine, own_kernel);
        daemon = std::make_unique<Daemon>(context, options, platform.get());
        daemon->start();
        settle();
    }
    /// As if killed: nothing is told to anybody, nothing more is written.
    void stop() {
        daemon.reset();
        context.restart();
        context.poll();
        platform.reset();
    }
    /// Runs whatever is ready.
    void settle() {
        for (int round = 0; round < 50; ++round) {
            context.restart();
            context.poll();
        }
    }
    /// Runs the coroutine to its end with the daemon on the same io_context; a test that hangs fails.
    template <class T>
    T run(asio::awaitable<T> work) {
        auto result = asio::co_spawn(context, std::move(work), asio::use_future);
        context.restart();
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (result.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
            context.run_one_for(std::chrono::milliseconds(100));
            if (std::chrono::steady_clock::now() > give_up) {
                throw std::runtime_error("the coroutine does not come to an end");
            }
        }
        return result.get();
    }
    std::shared_ptr<Client> connect() { return run(Client::connect(options.socket.string())); }

    /// Introduces a domain with a home it may write below.
    void introduce(std::uint16_t domid) {
        machine.shared->exists[domid] = true;
        auto tools = connect();
        run([](std::shared_ptr<Client> client, std::uint16_t id) -> asio::awaitable<void> {
            const std::string data = "/local/domain/" + std::to_string(id) + "/data";
            co_await client->mkdir(data);
            std::vector<Permission> list;
            list.push_back({id, 'n'});
            co_await client->set_permissions(data, list);
            co_await client->introduce(id, 4711, 100u + id);
        }(tools, domid));
    }
    /// One request over the ring, and its answer; events on the way are kept in `events`.
    wire::Message ask(FakeGuest& guest, const wire::Message& request) {
        guest.send(request);
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (std::chrono::steady_clock::now() < give_up) {
            settle();
            guest.pump();
            while (auto message = guest.receive()) {
                if (message->type != XS_WATCH_EVENT) {
                    return *message;
                }
                events.push_back(*message);
            }
        }
        ADD_FAILURE() << "no answer";
        return {};
    }
    static std::string nul(std::string text) { return text + '\0'; }

    FakeMachine machine;
    TemporaryFolder folder;
    DaemonOptions options;
    asio::io_context context{1};
    std::unique_ptr<FakePlatform> platform;
    std::unique_ptr<Daemon> daemon;
    std::vector<wire::Message> events;
};

} // namespace domus::xenstore::server
