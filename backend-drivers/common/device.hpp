// One device of one guest: the XenBus state machine that all backends share, and the two classes a new backend knows.
//   Driver   what a backend writes: what it offers, connect(), disconnect().
//   Device   what it is given: the store, the guest's memory and events, and the ways to publish and to give up.
// Owner: Directory (one daemon for all devices) or a device's own process. Lock: none, one io_context.
// Survives the frontend's crash and reconnect, hot unplug, a restart of this process and of xenstored.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "backend-drivers/common/signal.hpp"
#include "backend-drivers/common/xenbus.hpp"
#include "hypervisor/client/event_channels.hpp"
#include "hypervisor/client/grants.hpp"
#include "xenstore-lite/client/client.hpp"

namespace domus::backend {

namespace asio = boost::asio;

/// How this process reaches guests: the two seams of hypervisor/client, side by side.
struct GuestAccess {
    std::shared_ptr<client::Grants> grants;
    std::shared_ptr<client::EventChannels> events;
};

/// The real ones, for a daemon's main.
GuestAccess open_guest_access(const asio::any_io_executor& executor);

class Device;

/// A backend's own part. One object per device; it is connected and disconnected as often as the frontend wants.
/// Everything may throw: the device is then closed, with the message in the store's error node and in the log.
class Driver {
public:
    virtual ~Driver() = default;

    /// Opens what the device stands on. Returns what is published before the frontend looks (feature-*).
    virtual asio::awaitable<Nodes> offer() = 0;
    /// The frontend has published its rings: read them (Device::frontend_node), map, bind, serve from now on.
    /// Returns what is published together with state Connected. Must leave nothing behind when it throws.
    virtual asio::awaitable<Nodes> connect() = 0;
    /// The store says that an earlier process was connected. Serve on and return true, or false: the frontend is then
    /// told to close. offer() was not called. For devices whose frontends tolerate lost requests, connect() will do.
    virtual asio::awaitable<bool> resume() = 0;
    /// Stops serving, ends own I/O on the guest's memory, unmaps, unbinds. Called after a failed resume() too.
    virtual asio::awaitable<void> disconnect() = 0;
};

class Device {
public:
    using MakeDriver = std::function<std::unique_ptr<Driver>(Device&)>;

    Device(std::shared_ptr<xenstore::Client> store, GuestAccess access, DeviceId id, MakeDriver make);
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;
    ~Device();

    /// Serves until the device is taken away: its directory is gone, or it is Closed and no longer online.
    /// Throws when the store is lost. Disconnects in every case.
    asio::awaitable<void> run();
    /// Ends run() as if the directory were gone; states in the store stay as they are.
    void stop();

    // For drivers.
    const DeviceId& id() const { return id_; }
    xenstore::Client& store() { return *store_; }
    const GuestAccess& access() const { return access_; }
    const asio::any_io_executor& executor() const { return executor_; }

    /// A node of the backend's own directory, written by the toolstack.
    asio::awaitable<std::optional<std::string>> node(std::string name);
    /// A node of the frontend's directory: the guest's words, to be checked. What is read in connect() or resume() is
    /// what the connection stands on: when it changes, the frontend has begun anew, and is connected anew.
    asio::awaitable<std::optional<std::string>> frontend_node(std::string name);
    /// The same as a number of at most `limit`. Throws std::runtime_error naming the node when it is anything else;
    /// nothing when it is absent.
    asio::awaitable<std::optional<std::uint64_t>> frontend_number(std::string name, std::uint64_t limit);
    /// As frontend_number(), but absence is an error too.
    asio::awaitable<std::uint64_t> frontend_need(std::string name, std::uint64_t limit);
    /// Writes nodes while connected and says Connected again, on which frontends look at sizes (live resize).
    asio::awaitable<void> publish_again(Nodes nodes);

    /// The frontend broke the protocol, or the device can go on no more: stop serving, error node, state Closing.
    /// Returns at once; the first reason counts. Callable from any coroutine of this io_context.
    void fail(std::string reason);

private:
    asio::awaitable<void> follow(std::shared_ptr<xenstore::Watch> watch);
    asio::awaitable<void> serve();
    asio::awaitable<bool> step();
    asio::awaitable<void> act(Action action);
    asio::awaitable<void> attempt(Action action);
    asio::awaitable<void> offer();
    asio::awaitable<void> connect();
    asio::awaitable<void> disconnect();
    asio::awaitable<void> report_failure();
    asio::awaitable<bool> renewed();
    asio::awaitable<void> publish(Nodes nodes, State state);

    std::shared_ptr<xenstore::Client> store_;
    GuestAccess access_;
    DeviceId id_;
    asio::any_io_executor executor_;
    std::unique_ptr<Driver> driver_;
    std::string frontend_path_;
    std::optional<std::string> failure_;
    std::vector<std::pair<std::string, std::optional<std::string>>> read_; ///< of the frontend's, while connecting
    bool connected_ = false, may_resume_ = true, stopped_ = false, changed_ = true, connecting_ = false;
    Signal wake_;
};

} // namespace domus::backend
