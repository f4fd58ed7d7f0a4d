// Disks on an NBD server, local or remote, in whatever format it reads (qemu-nbd: qcow2 and others). Owner: a disk.
// No lock, one io_context. A server that goes away is looked for again and again: operations wait for it for
// `patience`, and fail after that until it is back. Which guarantees hold then: docs/block.md.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <boost/asio/any_io_executor.hpp>

#include "backend-drivers/block/media.hpp"
#include "backend-drivers/block/nbd_uri.hpp"
#include "backend-drivers/block/storage.hpp"

namespace domus::block {

class NbdStorages final : public Storages {
public:
    struct Times {
        std::chrono::milliseconds patience{30'000}; ///< of operations, and of open()
        std::chrono::milliseconds pause{500};       ///< between two attempts to connect
    };
    explicit NbdStorages(const boost::asio::any_io_executor& executor) : NbdStorages(executor, Times()) {}
    /// With an opener, it connects to sockets in dom0 (nbd_uri.hpp); without, libnbd does, with this process' rights.
    NbdStorages(boost::asio::any_io_executor executor, Times times, std::shared_ptr<Opener> opener = nullptr)
        : executor_(std::move(executor)), times_(times), opener_(std::move(opener)) {}
    boost::asio::awaitable<std::unique_ptr<Storage>> open(Spec spec) override;

private:
    boost::asio::any_io_executor executor_;
    Times times_;
    std::shared_ptr<Opener> opener_;
};

/// Each disk where its target says.
class AllStorages final : public Storages {
public:
    AllStorages(std::unique_ptr<Storages> files, std::unique_ptr<Storages> nbd)
        : files_(std::move(files)), nbd_(std::move(nbd)) {}
    boost::asio::awaitable<std::unique_ptr<Storage>> open(Spec spec) override {
        return is_nbd(spec.path) ? nbd_->open(std::move(spec)) : files_->open(std::move(spec));
    }

private:
    std::unique_ptr<Storages> files_, nbd_;
};

} // namespace domus::block
