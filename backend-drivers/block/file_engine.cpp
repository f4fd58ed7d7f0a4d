// See file_engine.hpp.
#include "backend-drivers/block/file_engine.hpp"

#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <fcntl.h>
#include <linux/falloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "backend-drivers/block/uring.hpp"

namespace domus::block {
namespace {

constexpr unsigned thread_count = 8;

ssize_t transfer_parts(const Io& io, std::span<const iovec> parts, off_t at, int file) {
    const int count = static_cast<int>(parts.size());
    return io.kind == Kind::Read ? ::preadv(file, parts.data(), count, at) : ::pwritev(file, parts.data(), count, at);
}

ssize_t transfer_some(const Io& io, std::uint64_t already, int file) {
    const std::size_t rest = io.length - already;
    const auto at = static_cast<off_t>(io.offset + already);
    if (io.parts.empty()) {
        return io.kind == Kind::Read ? ::pread(file, io.data + already, rest, at)
                                     : ::pwrite(file, io.data + already, rest, at);
    }
    if (already == 0) {
        return transfer_parts(io, io.parts, at, file);
    }
    return transfer_parts(io, rest_of(io.parts, already), at, file);
}

/// 0, or a negative errno.
int transfer(const Io& io, int file) {
    for (std::uint64_t already = 0; already < io.length;) {
        const ssize_t done = transfer_some(io, already, file);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done < 0 ? -errno : -EIO; // nothing at all is the end of a file that has become shorter
        }
        already += static_cast<std::uint64_t>(done);
    }
    return 0;
}

int perform(const Io& io, int file) {
    switch (io.kind) {
    case Kind::Flush:
        return ::fdatasync(file) == 0 ? 0 : -errno;
    case Kind::Discard:
        return ::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(io.offset),
                           static_cast<off_t>(io.length)) == 0
                   ? 0
                   : -errno;
    default:
        return transfer(io, file);
    }
}

} // namespace

std::vector<iovec> rest_of(std::span<const iovec> parts, std::uint64_t already) {
    std::vector<iovec> rest;
    for (iovec part : parts) {
        const std::size_t done = std::min<std::uint64_t>(already, part.iov_len);
        already -= done;
        part.iov_base = static_cast<std::uint8_t*>(part.iov_base) + done;
        part.iov_len -= done;
        if (part.iov_len != 0) {
            rest.push_back(part);
        }
    }
    return rest;
}

void InPlace::start(Io& io, int file) {
    io.done(perform(io, file));
}

Threads::Threads(boost::asio::any_io_executor executor)
    : executor_(boost::asio::prefer(std::move(executor), boost::asio::execution::outstanding_work.tracked)),
      threads_(thread_count) {}

Threads::~Threads() {
    threads_.join();
}

void Threads::start(Io& io, int file) {
    boost::asio::post(threads_, [this, &io, file] {
        const int error = perform(io, file);
        boost::asio::post(executor_, [&io, error] { io.done(error); });
    });
}

std::unique_ptr<FileEngine> best_engine(const boost::asio::any_io_executor& executor) {
    try {
        return std::make_unique<Uring>(executor);
    } catch (const std::exception& error) {
        spdlog::warn("{}: threads do its work, which is slower", error.what());
        return std::make_unique<Threads>(executor);
    }
}

} // namespace domus::block
