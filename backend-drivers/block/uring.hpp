// The kernel's io_uring under Asio: one for all disks of a process. Owner: the daemon's main. No lock, one io_context.
// What the kernel has done within submit() is done when that returns; later completions make the
// ring's descriptor readable, which wakes the io_context.
#pragma once

#include <cstdint>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <liburing.h>

#include "backend-drivers/block/file_engine.hpp"

namespace domus::block {

class Uring final : public FileEngine {
public:
    /// Throws std::runtime_error: this kernel has none, or forbids it.
    explicit Uring(const boost::asio::any_io_executor& executor);
    Uring(const Uring&) = delete;
    Uring& operator=(const Uring&) = delete;
    ~Uring() override;

    void start(Io& io, int file) override;
    void submit() override;

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
