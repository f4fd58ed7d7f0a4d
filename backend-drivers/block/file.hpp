// Files and block devices as disks, through io_uring, past the page cache where the file system can (O_DIRECT).
// Owner: a disk. No lock, one io_context.
#pragma once

#include <boost/asio/any_io_executor.hpp>

#include "backend-drivers/block/storage.hpp"
#include "backend-drivers/block/uring.hpp"

namespace domus::block {

/// Opens what is at a path. Each disk is locked (flock(2)): the lock of a process that was killed is held until its
/// last operation has ended, so that no late write of an earlier process lands after one of ours.
class FileStorages final : public Storages {
public:
    explicit FileStorages(const boost::asio::any_io_executor& executor) : uring_(executor) {}
    boost::asio::awaitable<std::unique_ptr<Storage>> open(Spec spec) override;

private:
    Uring uring_;
};

} // namespace domus::block
