// Both halves of a split driver in one process and one thread: backends (backend-drivers) in dom0 and guestkit's
// frontends in guests, between them the hypervisor's own event-channel and grant code, and the real xenstored. What
// happens has one order, the same in each run: a debugger sees both halves, and a test may put a fault at any step.
//
//     Bus bus;
//     Guest& guest = bus.boot();
//     bus.plug(guest, "echo", "lab-echo", 0);
//     bus.serve(guest, "lab-echo", 0, [](auto& device) { return std::make_unique<EchoDriver>(device); });
//     guest.start(use_echo(guest.kit()));
//     EXPECT_TRUE(bus.until([&] { return ...; }));
//
// One Bus at a time: the machine under it is one. DOMUS_BUS_TRACE=1 in the environment prints each hypercall of both
// sides as it happens.
#pragma once

#include "backend-drivers/common/device.hpp"
#include "tests/bus/guest.hpp"
#include "xenstore-lite/server/daemon.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <functional>
#include <list>
#include <optional>

namespace domus::bus {

namespace asio = boost::asio;
using Nodes = backend::Nodes;

class Bus {
public:
    Bus();
    ~Bus(); // everything ends; memory that is lost, and pages left mapped, fail the test
    Bus(const Bus&) = delete;
    Bus& operator=(const Bus&) = delete;

    // A domain whose store is connected. Its number is the next one.
    Guest& boot();
    // It is gone from one moment to the next; the toolstack has not noticed yet (unplug() is what it would do).
    void kill(Guest& guest);

    // The toolstack's part: a device's nodes on both sides. `more`: for the backend's directory.
    backend::DeviceId plug(Guest& guest, const std::string& kind, const std::string& type, std::uint32_t devid,
                           const Nodes& more = {});
    void unplug(const backend::DeviceId& id, const std::string& kind);
    // A backend for a device, until it is unplugged, or stopped by Device::stop() as if its process was killed.
    backend::Device& serve(const backend::DeviceId& id, backend::Device::MakeDriver make);
    bool serving() const { return !served_.empty(); }

    // One step: dom0's events, each guest, one handler of dom0's programs. False: nothing was left to do.
    bool step();
    void settle();
    // Steps until it is so; false when nothing happens any more and it is not.
    bool until(const std::function<bool()>& so);
    // The store as dom0 sees it.
    std::optional<std::string> read(const std::string& path);
    void write(const std::string& path, const std::string& value);

    template <class T>
    T run(asio::awaitable<T> work) {
        std::optional<T> result;
        start([](asio::awaitable<T> given, std::optional<T>& out) -> asio::awaitable<void> {
            out.emplace(co_await std::move(given));
        }(std::move(work), result));
        if (!until([&] { return result.has_value(); }))
            throw std::runtime_error("a coroutine of dom0's came to no end");
        return std::move(*result);
    }
    void run(asio::awaitable<void> work);

    Faults faults;
    BackendGrants& grants() { return *grants_; }
    const backend::GuestAccess& access() const { return access_; }
    const std::shared_ptr<xenstore::Client>& store() const { return store_; }
    const std::vector<std::string>& trace() const { return trace_; }
    asio::io_context io{1};

private:
    struct Served {
        std::unique_ptr<backend::Device> device;
        bool ended = false;
    };
    void start(asio::awaitable<void> work);
    void note(std::string line);
    Trace noter();

    Machine machine_;
    Domain& dom0_;
    std::filesystem::path folder_;
    std::vector<std::string> trace_;
    std::map<std::uint16_t, Domain*> domains_;
    EventDevice events_;
    StorePlatform platform_;
    std::unique_ptr<xenstore::server::Daemon> daemon_;
    std::shared_ptr<BackendGrants> grants_;
    backend::GuestAccess access_;
    std::shared_ptr<xenstore::Client> store_;
    std::list<Served> served_;
    std::list<std::unique_ptr<Guest>> guests_;
    std::exception_ptr failure_;
    std::uint16_t last_domid_ = 0;
};

} // namespace domus::bus
