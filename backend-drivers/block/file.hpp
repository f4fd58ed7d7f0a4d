// Files and block devices as disks, past the page cache where the file system can (O_DIRECT).
// Owner: a disk. No lock, one io_context.
#pragma once

#include <memory>
#include <utility>

#include "backend-drivers/block/file_engine.hpp"
#include "backend-drivers/block/media.hpp"
#include "backend-drivers/block/storage.hpp"

namespace domus::block {

/// Disks on what the opener finds at a path. Each disk is locked (flock(2)): the lock of a process that was killed is
/// held until its last operation has ended, so that no late write of an earlier process lands after one of ours.
class FileStorages final : public Storages {
public:
    FileStorages(std::unique_ptr<FileEngine> engine, std::shared_ptr<Opener> opener)
        : engine_(std::move(engine)), opener_(std::move(opener)) {}
    boost::asio::awaitable<std::unique_ptr<Storage>> open(Spec spec) override;

private:
    std::unique_ptr<FileEngine> engine_;
    std::shared_ptr<Opener> opener_;
    InPlace in_place_; ///< of files in memory
};

} // namespace domus::block
