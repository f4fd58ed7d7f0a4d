// Which guests have a console: those with nodes for one in the store, kept current by watches. It asks nobody but the
// store, so that the daemon needs none of the hypervisor's privileged calls. Owner: the daemon's main. No lock: one
// io_context. Must outlive what it has begun: as long as the io_context runs.
#pragma once

#include <map>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>

#include "backend-drivers/common/device.hpp"
#include "backend-drivers/console/guest.hpp"
#include "xenstore-lite/client/client.hpp"

namespace domus::console {

struct LogSettings {
    std::string folder;
    std::uint64_t limit = 4 << 20; ///< bytes per file; two files per guest are kept
};

class Discovery {
public:
    Discovery(boost::asio::any_io_executor executor, LogSettings logs, backend::GuestAccess access)
        : executor_(executor), logs_(std::move(logs)), access_(std::move(access)) {}
    Discovery(const Discovery&) = delete;
    Discovery& operator=(const Discovery&) = delete;

    /// Before run() and find().
    void use(std::shared_ptr<xenstore::Client> store) { store_ = std::move(store); }

    /// Follows domains coming and going until the store is lost.
    boost::asio::awaitable<void> run();

    /// The console of a domain that has a directory in the store; one that is not served yet is returned too and fills
    /// up when it is. Throws std::runtime_error when there is no such domain.
    boost::asio::awaitable<std::shared_ptr<Guest>> find(std::uint16_t domid);

private:
    /// What the toolstack writes of a console; a console with other ends is another domain's of the same number.
    struct Ends {
        std::string ring_ref;
        std::uint32_t port = 0;
        bool operator==(const Ends&) const = default;
    };

    boost::asio::awaitable<void> follow(std::shared_ptr<xenstore::Watch> watch);
    boost::asio::awaitable<void> rescan();
    std::shared_ptr<Guest> begin(std::uint16_t domid);
    /// From its first nodes to their removal.
    boost::asio::awaitable<void> look_after(std::shared_ptr<Guest> guest);
    boost::asio::awaitable<void> serve(std::shared_ptr<Guest> guest, Ends ends);
    boost::asio::awaitable<std::optional<Ends>> read_ends(std::string folder);
    /// A page that stays mapped would keep a dead domain's memory: close() gives it back.
    void end(const std::shared_ptr<Guest>& guest);

    boost::asio::any_io_executor executor_;
    std::shared_ptr<xenstore::Client> store_;
    LogSettings logs_;
    backend::GuestAccess access_;
    std::map<std::uint16_t, std::shared_ptr<Guest>> guests_;
};

} // namespace domus::console
