// See uring.hpp.
#include "backend-drivers/block/uring.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

#include <fcntl.h>
#include <linux/falloc.h>

namespace domus::block {
namespace {
constexpr unsigned entries = 256;
} // namespace

/// An Io on its way: the kernel may take it in several parts.
struct Uring::Work {
    Io& io;
    int file;
    std::uint64_t already = 0;
    std::vector<iovec> rest; ///< of `io.parts`, when a part of them is done
};

Uring::Uring(const boost::asio::any_io_executor& executor) : event_(executor) {
    const int failed = ::io_uring_queue_init(entries, &ring_, 0);
    if (failed != 0) {
        throw std::runtime_error(std::string("io_uring: ") + std::strerror(-failed));
    }
    event_.assign(ring_.ring_fd);
    wait();
}

Uring::~Uring() {
    event_.release(); // liburing closes it
    ::io_uring_queue_exit(&ring_);
}

void Uring::wait() {
    event_.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this](const auto& error) {
        if (!error) { // otherwise this object is gone
            reap();
            wait();
        }
    });
}

void Uring::start(Io& io, int file) {
    queue(*new Work{io, file, 0, {}});
}

void Uring::queue(Work& work) {
    io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
    if (entry == nullptr) {
        ::io_uring_submit(&ring_);
        entry = ::io_uring_get_sqe(&ring_);
    }
    if (entry == nullptr) {
        finished(work, -EAGAIN); // the kernel takes nothing: out of memory
        return;
    }
    const Io& io = work.io;
    const std::uint64_t offset = io.offset + work.already, length = io.length - work.already;
    const auto part = static_cast<unsigned>(std::min<std::uint64_t>(length, 1U << 30));
    std::span<const iovec> parts = io.parts;
    if (work.already != 0 && !parts.empty()) {
        work.rest = rest_of(io.parts, work.already);
        parts = work.rest;
    }
    switch (io.kind) {
    case Kind::Read:
        if (!parts.empty()) {
            ::io_uring_prep_readv(entry, work.file, parts.data(), static_cast<unsigned>(parts.size()), offset);
            break;
        }
        ::io_uring_prep_read(entry, work.file, io.data + work.already, part, offset);
        break;
    case Kind::Write:
        if (!parts.empty()) {
            ::io_uring_prep_writev(entry, work.file, parts.data(), static_cast<unsigned>(parts.size()), offset);
            break;
        }
        ::io_uring_prep_write(entry, work.file, io.data + work.already, part, offset);
        break;
    case Kind::Flush:
        ::io_uring_prep_fsync(entry, work.file, IORING_FSYNC_DATASYNC);
        break;
    case Kind::Discard:
        ::io_uring_prep_fallocate(entry, work.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  static_cast<off_t>(offset), static_cast<off_t>(length));
        break;
    }
    ::io_uring_sqe_set_data(entry, &work);
}

void Uring::submit() {
    ::io_uring_submit(&ring_);
    reap();
}

void Uring::reap() {
    io_uring_cqe* entry = nullptr;
    while (::io_uring_peek_cqe(&ring_, &entry) == 0) {
        Work& work = *static_cast<Work*>(::io_uring_cqe_get_data(entry));
        const int result = entry->res;
        ::io_uring_cqe_seen(&ring_, entry);
        finished(work, result);
        if (::io_uring_sq_ready(&ring_) != 0) {
            ::io_uring_submit(&ring_); // the rest of what was done in part
        }
    }
}

void Uring::finished(Work& work, int result) {
    Io& io = work.io;
    const bool data = io.kind == Kind::Read || io.kind == Kind::Write;
    if (data && result > 0) {
        work.already += static_cast<std::uint64_t>(result);
    }
    const bool again = result == -EINTR || (data && result > 0 && work.already < io.length);
    if (again) {
        queue(work);
        return;
    }
    delete &work;
    // Nothing at all is the end of a file that has become shorter.
    io.done(result < 0 ? result : data && result == 0 ? -EIO : 0);
}

} // namespace domus::block
