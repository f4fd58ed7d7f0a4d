// See directory.hpp.
#include "backend-drivers/common/directory.hpp"

#include <charconv>

#include <fmt/format.h>

namespace domus::backend {

namespace asio = boost::asio;

asio::awaitable<std::string> own_home(xenstore::Client& store) {
    const auto domid = co_await store.try_read("domid"); // relative to the asking domain's own directory
    const auto number = to_number(domid.value_or("0"));
    co_return fmt::format("/local/domain/{}", number.value_or(0));
}

Directory::Directory(std::shared_ptr<xenstore::Client> store, std::string home, std::string type, Added added)
    : store_(std::move(store)), home_(std::move(home)), type_(std::move(type)), added_(std::move(added)) {}

asio::awaitable<void> Directory::run() {
    const std::string root = fmt::format("{}/backend/{}", home_, type_);
    const auto watch = co_await store_->watch(root);
    for (;;) {
        const std::string path = co_await watch->next();
        if (path.size() <= root.size() + 1) {
            co_await look_at_all();
            continue;
        }
        // Behind the root: DOMID, or DOMID/DEVID, or a node of a device, which is that device's own business.
        const std::string rest = path.substr(root.size() + 1);
        const auto slash = rest.find('/');
        const auto domid = to_number(rest.substr(0, slash));
        if (!domid || *domid > 0xffff) {
            continue;
        }
        if (slash == std::string::npos) {
            co_await look_at_domain(static_cast<std::uint16_t>(*domid));
            continue;
        }
        const auto devid = to_number(rest.substr(slash + 1, rest.find('/', slash + 1) - slash - 1));
        if (devid && *devid <= 0xffffffffu) {
            DeviceId id{home_, type_, static_cast<std::uint16_t>(*domid), static_cast<std::uint32_t>(*devid)};
            co_await look_at(std::move(id));
        }
    }
}

asio::awaitable<std::vector<std::uint64_t>> Directory::numbers_in(std::string path) {
    std::vector<std::uint64_t> numbers;
    std::vector<std::string> names;
    try {
        names = co_await store_->directory(path);
    } catch (const boost::system::system_error& error) {
        if (error.code() != boost::system::errc::no_such_file_or_directory) {
            throw;
        }
    }
    for (const auto& name : names) {
        if (const auto number = to_number(name)) {
            numbers.push_back(*number);
        }
    }
    co_return numbers;
}

asio::awaitable<void> Directory::look_at_all() {
    const auto domids = co_await numbers_in(fmt::format("{}/backend/{}", home_, type_));
    for (const auto domid : domids) {
        co_await look_at_domain(static_cast<std::uint16_t>(domid));
    }
}

asio::awaitable<void> Directory::look_at_domain(std::uint16_t domid) {
    const auto devids = co_await numbers_in(fmt::format("{}/backend/{}/{}", home_, type_, domid));
    for (const auto devid : devids) {
        DeviceId id{home_, type_, domid, static_cast<std::uint32_t>(devid)};
        co_await look_at(std::move(id));
    }
}

asio::awaitable<void> Directory::look_at(DeviceId id) {
    if (known_.contains(id)) {
        co_return;
    }
    const auto frontend = co_await store_->try_read(id.path() + "/frontend");
    if (frontend && known_.insert(id).second) {
        added_(std::move(id));
    }
}

asio::awaitable<void> Directory::forget(DeviceId id) {
    known_.erase(id);
    co_await look_at(std::move(id));
}

} // namespace domus::backend
