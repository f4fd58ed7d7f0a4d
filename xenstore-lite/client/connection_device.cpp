// The store through the kernel of a domain that is not the store's own: /dev/xen/xenbus carries the same messages as
// the daemon's socket, with differences that end here. Part of Connection, see connection.hpp.
//   - One message for each write(2): what stands behind a whole message in the same write is lost.
//   - It is never "writable" for poll(2), and never full: a write is tried at once.
//   - Requests to watch are answered by the kernel itself, without the request's number, and inside write(2): the
//   thread
//     that would hand on the answer to an earlier request then waits for that write, and the write for the thread. So
//     there is one request at a time.
#include "xenstore-lite/client/connection.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace domus::xenstore {

/// False: the path is no character device.
bool Connection::open_device() {
    struct stat info {};
    if (::stat(socket_path_.c_str(), &info) != 0 || !S_ISCHR(info.st_mode)) {
        return false;
    }
    const int descriptor = ::open(socket_path_.c_str(), O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (descriptor < 0) {
        throw boost::system::system_error(errno, boost::system::generic_category(),
                                          "xenstore: cannot open " + socket_path_);
    }
    device_.assign(descriptor);
    return true;
}

asio::awaitable<void> Connection::write_device() {
    while (outbox_.size() >= sizeof(xsd_sockmsg) && device_.is_open() && !device_waits_) {
        xsd_sockmsg header;
        std::memcpy(&header, outbox_.data(), sizeof header);
        const std::string message = outbox_.substr(0, sizeof header + header.len);
        outbox_.erase(0, message.size());
        device_waits_ = true;
        const auto [error, count] =
            co_await asio::async_write(device_, asio::buffer(message), asio::as_tuple(asio::use_awaitable));
        if (error) { // the kernel refuses this one message: that is its answer
            device_waits_ = false;
            const auto found = pending_.find(header.req_id);
            if (found != pending_.end()) {
                finish(*found->second, error.value(), {});
                pending_.erase(found);
            }
        }
    }
}

/// The oldest request of this type: the kernel answers each in its turn.
std::map<std::uint32_t, std::shared_ptr<Connection::Pending>>::iterator
Connection::answered_without_number(std::uint32_t type) {
    if (type != XS_WATCH && type != XS_UNWATCH) {
        return pending_.end();
    }
    return std::find_if(pending_.begin(), pending_.end(),
                        [type](const auto& entry) { return entry.second->request.type == type; });
}

} // namespace domus::xenstore
