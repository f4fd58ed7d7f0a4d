// See nbd_connection.hpp.
#include "backend-drivers/block/nbd_connection.hpp"

#include <chrono>
#include <stdexcept>

#include <boost/asio/post.hpp>
#include <poll.h>

namespace domus::block {
namespace {
constexpr auto look_again = std::chrono::milliseconds(5);
}

/// Given to libnbd with a command, freed by it.
struct NbdConnection::Command {
    NbdConnection& connection;
    void* tag;
};

NbdConnection::NbdConnection(const boost::asio::any_io_executor& executor, Told told)
    : nbd_(NbdLibrary::get()), told_(std::move(told)), handle_(nbd_.create()), socket_(executor), timer_(executor) {
    if (handle_ == nullptr) {
        throw std::runtime_error(nbd_.get_error());
    }
}

NbdConnection::~NbdConnection() {
    close();
    nbd_.close(handle_);
}

void NbdConnection::connect(const std::string& uri) {
    if (nbd_.aio_connect_uri(handle_, uri.c_str()) != 0) {
        throw std::runtime_error(nbd_.get_error());
    }
    negotiate();
}

void NbdConnection::connect(const std::string& export_name, client::Descriptor socket) {
    if (nbd_.set_export_name(handle_, export_name.c_str()) != 0 ||
        nbd_.aio_connect_socket(handle_, socket.release()) != 0) { // libnbd's to close from here on
        throw std::runtime_error(nbd_.get_error());
    }
    negotiate();
}

/// libnbd tries one address of a host after the other, each with a socket of its own: until it has settled for one, its
/// socket is looked at now and then instead of being waited for.
void NbdConnection::negotiate() {
    for (int step = 0; step < 64 && nbd_.aio_is_connecting(handle_) == 1; ++step) {
        const unsigned direction = nbd_.aio_get_direction(handle_);
        pollfd socket{};
        socket.fd = nbd_.aio_get_fd(handle_);
        socket.events = static_cast<short>(((direction & LIBNBD_AIO_DIRECTION_READ) != 0 ? POLLIN : 0) |
                                           ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 ? POLLOUT : 0));
        if (::poll(&socket, 1, 0) <= 0) {
            break;
        }
        if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0 && (socket.revents & ~POLLOUT) != 0) {
            nbd_.aio_notify_read(handle_);
        } else {
            nbd_.aio_notify_write(handle_);
        }
    }
    if (open_ && nbd_.aio_is_connecting(handle_) == 1) {
        timer_.expires_after(look_again);
        timer_.async_wait([self = shared_from_this()](const auto& stopped) {
            if (!stopped && self->open_) {
                self->negotiate();
            }
        });
        return;
    }
    look();
}

void NbdConnection::close() {
    if (std::exchange(open_, false)) {
        timer_.cancel();
        if (socket_.is_open()) {
            socket_.release(); // libnbd closes it
        }
        if (ready_ && nbd_.aio_is_ready(handle_) == 1) {
            nbd_.aio_disconnect(handle_, 0);
        }
    }
}

void NbdConnection::send(const Io& io, std::uint64_t already, std::uint64_t length, void* tag) {
    const nbd_completion_callback then{.callback = completed,
                                       .user_data = new Command{*this, tag},
                                       .free = [](void* command) { delete static_cast<Command*>(command); }};
    std::int64_t cookie = -1;
    switch (io.kind) {
    case Kind::Read:
        cookie = nbd_.aio_pread(handle_, io.data + already, length, io.offset + already, then, 0);
        break;
    case Kind::Write:
        cookie = nbd_.aio_pwrite(handle_, io.data + already, length, io.offset + already, then, 0);
        break;
    case Kind::Flush:
        cookie = nbd_.aio_flush(handle_, then, 0);
        break;
    case Kind::Discard:
        cookie = nbd_.aio_trim(handle_, length, io.offset + already, then, 0);
        break;
    }
    // A command that cannot be sent is answered by nobody: the connection is gone, and who owns it sends all again.
    boost::asio::post(socket_.get_executor(), [self = shared_from_this(), refused = cookie < 0,
                                               why = cookie < 0 ? std::string(nbd_.get_error()) : std::string()] {
        if (refused) {
            self->lose(why);
        } else {
            self->look(); // it may have been answered, or wait for room in the socket
        }
    });
}

int NbdConnection::completed(void* command, int* error) {
    const auto& of = *static_cast<Command*>(command);
    of.connection.ended_.emplace_back(of.tag, *error);
    return 1; // libnbd may forget it
}

/// What has changed: connected, answers, the end.
void NbdConnection::look() {
    if (!open_ || std::exchange(looking_, true)) {
        return;
    }
    const auto self = shared_from_this();
    const bool alive = nbd_.aio_is_ready(handle_) == 1 || nbd_.aio_is_processing(handle_) == 1;
    const auto ended = std::exchange(ended_, {});
    if (alive) {
        if (!ready_) {
            ready_ = true;
            socket_.assign(nbd_.aio_get_fd(handle_));
            told_.ready();
        }
        for (const auto& [tag, error] : ended) {
            told_.ended(tag, -error);
        }
    }
    looking_ = false;
    if (alive) {
        arm();
    } else {
        const char* const why = nbd_.get_error();
        lose(why != nullptr ? why : "the server closed the connection");
    }
}

void NbdConnection::lose(std::string reason) {
    if (open_) {
        const auto self = shared_from_this();
        close();
        told_.lost(std::move(reason));
    }
}

void NbdConnection::arm() {
    if (!open_) {
        return;
    }
    using Wait = boost::asio::posix::stream_descriptor;
    const unsigned direction = nbd_.aio_get_direction(handle_);
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0 && !std::exchange(waits_to_read_, true)) {
        socket_.async_wait(Wait::wait_read, [self = shared_from_this()](const auto&) { self->woken(true); });
    }
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 && !std::exchange(waits_to_write_, true)) {
        socket_.async_wait(Wait::wait_write, [self = shared_from_this()](const auto&) { self->woken(false); });
    }
}

void NbdConnection::woken(bool reading) {
    (reading ? waits_to_read_ : waits_to_write_) = false;
    if (!open_) {
        return;
    }
    const unsigned direction = nbd_.aio_get_direction(handle_);
    if (reading && (direction & LIBNBD_AIO_DIRECTION_READ) != 0) {
        nbd_.aio_notify_read(handle_); // a failure shows in the connection's state
    } else if (!reading && (direction & LIBNBD_AIO_DIRECTION_WRITE) != 0) {
        nbd_.aio_notify_write(handle_);
    }
    look();
}

std::int64_t NbdConnection::size() const {
    return nbd_.get_size(handle_);
}

bool NbdConnection::read_only() const {
    return nbd_.is_read_only(handle_) == 1;
}

bool NbdConnection::can(Kind kind) const {
    switch (kind) {
    case Kind::Flush:
        return nbd_.can_flush(handle_) == 1;
    case Kind::Discard:
        return nbd_.can_trim(handle_) == 1;
    default:
        return true;
    }
}

std::int64_t NbdConnection::block_size(int which) const {
    return nbd_.get_block_size(handle_, which);
}

} // namespace domus::block
