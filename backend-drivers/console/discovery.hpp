// Which guests have a console: from the hypervisor's list of domains and their xenstore nodes, kept current by the
// special watches. Owner: the daemon's main. No lock: one io_context.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>

#include "backend-drivers/common/device.hpp"
#include "backend-drivers/console/guest.hpp"
#include "hypervisor/client/hypervisor.hpp"
#include "hypervisor/client/mappings.hpp"
#include "xenstore-lite/client/client.hpp"

namespace domus::console {

struct LogSettings {
    std::string folder;
    std::uint64_t limit = 4 << 20; ///< bytes per file; two files per guest are kept
};

class Discovery {
public:
    /// Opens the hypervisor's devices: needs root's rights.
    Discovery(boost::asio::any_io_executor executor, LogSettings logs);
    /// Before run().
    void use(std::shared_ptr<xenstore::Client> store) { store_ = std::move(store); }

    /// Follows domains coming and going until the store is lost.
    boost::asio::awaitable<void> run();

    /// The console of a running domain; one that is not served yet is returned too and fills up when it is.
    /// Throws std::runtime_error when there is no such domain.
    std::shared_ptr<Guest> find(std::uint16_t domid);

private:
    void rescan();
    /// Looks again for a while after a domain was released, and as long as one has shut down: the store tells of a
    /// release that comes before the domain's end, but not of the end itself, and a console left mapped keeps a dead
    /// domain's memory.
    boost::asio::awaitable<void> look_again();
    std::shared_ptr<Guest> begin(std::uint16_t domid);
    boost::asio::awaitable<void> serve(std::shared_ptr<Guest> guest);
    struct Ends {
        std::uint64_t ring_ref = 0;
        std::uint32_t port = 0;
    };
    boost::asio::awaitable<std::optional<Ends>> read_ends(std::string folder);
    std::shared_ptr<xencons_interface> map(std::uint16_t domid, std::uint64_t ring_ref);
    boost::asio::awaitable<void> follow(std::shared_ptr<xenstore::Watch> watch, bool released);

    boost::asio::any_io_executor executor_;
    std::shared_ptr<xenstore::Client> store_;
    LogSettings logs_;
    client::Hypervisor hypervisor_;
    backend::GuestAccess access_; ///< without grants where the kernel has no gntdev
    std::map<std::uint16_t, std::shared_ptr<Guest>> guests_;
    bool ending_ = false; // a guest has shut down and is still there
    std::chrono::steady_clock::time_point look_until_{};
    backend::Signal changed_;
};

} // namespace domus::console
