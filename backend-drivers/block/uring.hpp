// The kernel's io_uring under Asio: one for all disks of a process. Owner: the daemon's main. No lock, one io_context.
// Completions wake the io_context through an eventfd; done() of every Io is called from there.
#pragma once

#include <cstdint>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <liburing.h>

#include "backend-drivers/block/storage.hpp"

namespace domus::block {

class Uring {
public:
    /// Throws std::runtime_error: this kernel has none, or forbids it.
    explicit Uring(const boost::asio::any_io_executor& executor);
    Uring(const Uring&) = delete;
    Uring& operator=(const Uring&) = delete;
    ~Uring();

    /// An operation on a file; `io` lives until it is done.
    void start(Io& io, int file);
    void submit();

private:
    struct Work;
    void queue(Work& work);
    void wait();
    void reap();
    void finished(Work& work, int result);

    io_uring ring_{};
    boost::asio::posix::stream_descriptor event_;
};

} // namespace domus::block
