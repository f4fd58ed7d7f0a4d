// Disks on an NBD server, local or remote, in whatever format it reads (qemu-nbd: qcow2 and others). Owner: a disk.
// No lock, one io_context. A server that goes away is looked for again and again: operations wait for it for
// `patience`, and fail after that until it is back. Which guarantees hold then: docs/block.md.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <boost/asio/any_io_executor.hpp>

#include "backend-drivers/block/storage.hpp"

namespace domus::block {

/// Whether a disk's target is an NBD URI, as `nbd://HOST/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`.
bool is_nbd(const std::string& target);

class NbdStorages final : public Storages {
public:
    struct Times {
        std::chrono::milliseconds patience{30'000}; ///< of operations, and of open()
        std::chrono::milliseconds pause{500};       ///< between two attempts to connect
    };
    explicit NbdStorages(const boost::asio::any_io_executor& executor) : NbdStorages(executor, Times()) {}
    NbdStorages(boost::asio::any_io_executor executor, Times times) : executor_(std::move(executor)), times_(times) {}
    boost::asio::awaitable<std::unique_ptr<Storage>> open(Spec spec) override;

private:
    boost::asio::any_io_executor executor_;
    Times times_;
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
