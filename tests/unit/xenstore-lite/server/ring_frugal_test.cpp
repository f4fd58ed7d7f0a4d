// Guests that signal only when they have to, as Linux does: after a request if the daemon had taken all before it,
// after fetching replies if the ring had been full. Whatever else comes in, the daemon has to see by itself.
#include "daemon_fixture.hpp"

#include <atomic>
#include <thread>

namespace domus::xenstore::server {
namespace {

using FrugalRing = DaemonTest;

TEST_F(FrugalRing, ARequestThatComesBeforeTheLastOneIsGivenBackIsSeen) {
    start();
    introduce(1);
    introduce(2);
    run([](std::shared_ptr<Client> tools) -> asio::awaitable<void> {
        std::vector<Permission> list;
        list.push_back({2, 'n'});
        list.push_back({1, 'r'});
        co_await tools->set_permissions("/local/domain/2/data", list);
    }(connect()));
    FakeGuest watcher(machine, 1), writer(machine, 2);
    ask(watcher, {XS_WATCH, 1, 0, wire::join({"/local/domain/2/data", "t"})});
    ask(writer, {XS_READ, 1, 0, nul("data")});
    settle(); // no event of before is left
    writer.frugal = true;
    // The watcher is told of the first write before the writer's ring is flushed: there the second request comes in.
    platform->on_notify = [&](Port port) {
        if (port == 101) {
            platform->on_notify = nullptr;
            writer.send({XS_READ, 3, 0, nul("data/x")});
        }
    };
    writer.send({XS_WRITE, 2, 0, nul("data/x") + "1"});
    settle();
    ASSERT_FALSE(platform->on_notify) << "the watcher was not told";
    writer.pump();
    EXPECT_EQ(writer.receive(), (wire::Message{XS_WRITE, 2, 0, nul("OK")}));
    EXPECT_EQ(writer.receive(), (wire::Message{XS_READ, 3, 0, "1"}));
}

TEST_F(FrugalRing, NothingIsLostBetweenTwoProcessors) {
    start();
    introduce(1);
    FakeGuest before(machine, 1);
    ask(before, {XS_WRITE, 1, 0, nul("data/x") + std::string(300, 'x')});
    constexpr std::uint32_t last = 20000, in_flight = 6; // six replies do not fit into the ring at once
    std::atomic<std::uint32_t> answered{0};
    std::atomic<bool> give_up{false};
    std::thread guest_side([&] {
        FakeGuest guest(machine, 1);
        guest.frugal = true;
        for (std::uint32_t sent = 0; answered < last && !give_up;) {
            if (sent < last && sent - answered < in_flight) {
                guest.send({XS_READ, ++sent, 0, nul("data/x")});
            } else {
                guest.pump();
            }
            while (guest.receive()) {
                ++answered;
            }
        }
    });
    std::uint32_t seen = 0;
    for (auto moved = std::chrono::steady_clock::now(); answered < last && !give_up;) {
        context.restart();
        context.poll();
        const auto now = std::chrono::steady_clock::now();
        if (std::exchange(seen, answered.load()) != answered) {
            moved = now;
        }
        give_up = now - moved > std::chrono::seconds(20);
    }
    guest_side.join();
    EXPECT_EQ(answered, last) << "both sides wait for each other";
}

} // namespace
} // namespace domus::xenstore::server
