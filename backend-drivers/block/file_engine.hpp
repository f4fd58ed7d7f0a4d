// Who carries out operations on files: io_uring (uring.hpp); threads, where the kernel has none; this thread itself,
// for files in memory, which never make it wait. Owner: FileStorages. No lock, one io_context.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/thread_pool.hpp>

#include "backend-drivers/block/storage.hpp"

namespace domus::block {

class FileEngine {
public:
    virtual ~FileEngine() = default;
    /// An operation on a file; `io` lives until it is done.
    virtual void start(Io& io, int file) = 0;
    /// Sends what was begun, all at once.
    virtual void submit() = 0;
};

/// What is left of an operation's parts when `already` bytes are done.
std::vector<iovec> rest_of(std::span<const iovec> parts, std::uint64_t already);

/// Done before start() returns.
class InPlace final : public FileEngine {
public:
    void start(Io& io, int file) override;
    void submit() override {}
};

/// A few threads that wait for the medium. They touch nothing but the file and the operation's data.
class Threads final : public FileEngine {
public:
    explicit Threads(boost::asio::any_io_executor executor);
    ~Threads() override; ///< waits for the operations under way
    void start(Io& io, int file) override;
    void submit() override {}

private:
    boost::asio::any_io_executor executor_; ///< where done() is called
    boost::asio::thread_pool threads_;
};

/// io_uring, or threads where this kernel has none or forbids it: the log says so.
std::unique_ptr<FileEngine> best_engine(const boost::asio::any_io_executor& executor);

} // namespace domus::block
