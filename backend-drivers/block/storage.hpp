// What a disk stands on: one interface for files, block devices and what is added later. Owner: a disk. No lock, one
// io_context. FileStorage (file.hpp) is the real one; tests put memory in its place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <sys/uio.h>

#include "backend-drivers/block/request.hpp"

namespace domus::block {

/// One operation. Lives, with its buffer, until done() was called.
struct Io {
    virtual ~Io() = default;
    /// 0, or a negative errno. Called from the io_context, or from within start(); in any order.
    virtual void done(int error) = 0;

    Kind kind = Kind::Read;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::uint8_t* data = nullptr; ///< of a read or a write; at a whole sector, of a long one at a whole page
    std::span<const iovec>
        parts; ///< instead of `data`, where takes_parts(): whole sectors each, of pages shared with a guest
};

class Storage {
public:
    virtual ~Storage() = default; ///< only when every Io is done
    virtual Medium medium() const = 0;
    /// Looks anew how large the medium is; medium() says it from now on. Throws std::runtime_error: it stays as it was.
    virtual void measure() = 0;
    virtual std::uint32_t physical_sector() const = 0;
    virtual std::uint32_t discard_granularity() const = 0;
    /// Begins an operation that check() has passed. It is done when it would survive: a read has all its bytes, a
    /// flush covers every write that was done when it began.
    virtual void start(Io& io) = 0;
    /// Sends what was begun, all at once.
    virtual void submit() = 0;
    /// Whether an Io may work on a guest's pages themselves: on `parts`, or `data` in one. -EFAULT and -EINVAL
    /// then may say that the kernel or a file system does not take them: it is done again from other memory.
    virtual bool takes_parts() const { return false; }
    /// Where the bytes of a read or a write lie in this process' memory, if the medium is memory: they are then copied
    /// from and to the guest there, without start(). They stay there until the next submit() of a later batch at least;
    /// a copy that fails is to be done by start() instead, which says why. Null: not so, here or in general.
    virtual std::uint8_t* bytes(std::uint64_t offset, std::uint64_t length) {
        (void)offset, (void)length;
        return nullptr;
    }
};

/// What the toolstack says of a disk.
struct Spec {
    std::string path;
    bool read_only = false;
    bool discard = true;
    std::uint16_t domid = 0; ///< whose disk it is, for those who open it
    std::uint32_t devid = 0;
};

class Storages {
public:
    virtual ~Storages() = default;
    /// Throws std::runtime_error with the path and what is wrong with it.
    virtual boost::asio::awaitable<std::unique_ptr<Storage>> open(Spec spec) = 0;
};

} // namespace domus::block
