// A backend as a program: options, log, signals, the store, its devices and their lives. A new daemon is a Service that
// makes drivers, and a main() that calls run_service(). Owner: main(). Lock: none, one io_context, no threads.
// State is in the store and in the guests' rings: killed at any moment and started again, a daemon goes on there.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "backend-drivers/common/device.hpp"
#include "backend-drivers/common/privileges.hpp"
#include "backend-drivers/common/stats.hpp"
#include "xenstore-lite/client/client.hpp"

namespace CLI {
class App;
}

namespace domus::backend {

/// A backend's own part of its daemon. Everything may throw: the daemon then ends with the message.
class Service {
public:
    struct Words {
        const char* program; ///< "domus-netd"
        const char* about;   ///< what --help says first
        const char* type;    ///< of its devices: "domus-vif"
        const char* devices; ///< "network cards"
        const char* user;    ///< who it becomes unless --user says otherwise: "domus-netd"
    };
    /// What a driver is called in file names, and where its figures go.
    struct Files {
        std::string name;    ///< TYPE-DOMID-DEVID
        std::string figures; ///< path for Stats; its folder is the user's
    };

    virtual ~Service() = default;
    virtual Words words() const = 0;
    virtual void add_options(CLI::App&) {}
    /// What it is started with.
    struct Start {
        asio::any_io_executor executor;
        User user;         ///< who it becomes
        std::string store; ///< path
    };
    /// Before the store is reached: opens what needs root's rights. What the user is to write must be made here.
    virtual void open(const Start&) {}
    /// Of root's rights, those that it needs for ever (CAP_*).
    virtual std::vector<unsigned> capabilities() const { return {}; }
    /// The process is `user` now and has no other rights: threads may be started, which have none either.
    virtual void rights_dropped() {}
    virtual std::unique_ptr<Driver> make_driver(Device& device, const Files& files) = 0;
    /// The device was taken away for good, its driver is gone.
    virtual void removed(const Files&) {}
};

/// What serve_devices() needs besides the service.
struct Serving {
    asio::any_io_executor executor;
    std::shared_ptr<xenstore::Client> store;
    GuestAccess access;
    std::string home;                                           ///< the backend domain's own directory
    std::string figures = stats_folder;                         ///< folder, with one of the type in it
    std::function<void(const std::exception_ptr&)> device_lost; ///< a device's life ended by what it threw
};

/// Serves all devices of the service's type until the store is lost (throws).
asio::awaitable<void> serve_devices(Service& service, Serving serving);

/// What remains of any daemon's main() when its options are known: log, signals, one io_context. `work` goes on for
/// ever; what it throws is logged and ends the process with status 1. SIGTERM and SIGINT end it with 0, on the spot.
int run_program(const char* program, bool verbose,
                const std::function<asio::awaitable<void>(asio::any_io_executor)>& work);

/// main() of a daemon.
int run_service(Service& service, int argc, char** argv);

} // namespace domus::backend
