// Which devices of one type this backend domain has to serve, kept current by a watch on HOME/backend/TYPE.
// Owner: a daemon's main. No lock: one io_context. Every device gets one call of `added`; its end is the device's own
// business (Device::run() returns), after which forget() lets it be found again.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include <boost/asio/awaitable.hpp>

#include "backend-drivers/common/xenbus.hpp"
#include "xenstore-lite/client/client.hpp"

namespace domus::backend {

/// The backend domain's own directory, from the store's idea of who is asking: "/local/domain/0" in dom0.
boost::asio::awaitable<std::string> own_home(xenstore::Client& store);

class Directory {
public:
    using Added = std::function<void(DeviceId)>;

    Directory(std::shared_ptr<xenstore::Client> store, std::string home, std::string type, Added added);

    /// Follows devices coming until the store is lost.
    boost::asio::awaitable<void> run();
    /// The device's server has ended: if its directory is there (again), it is added anew.
    boost::asio::awaitable<void> forget(DeviceId id);

private:
    boost::asio::awaitable<void> look_at_all();
    boost::asio::awaitable<void> look_at_domain(std::uint16_t domid);
    boost::asio::awaitable<void> look_at(DeviceId id);
    boost::asio::awaitable<std::vector<std::uint64_t>> numbers_in(std::string path);

    std::shared_ptr<xenstore::Client> store_;
    std::string home_, type_;
    Added added_;
    std::set<DeviceId> known_;
};

} // namespace domus::backend
