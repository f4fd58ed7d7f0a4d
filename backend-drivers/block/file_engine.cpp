// See file_engine.hpp.
#include "backend-drivers/block/file_engine.hpp"

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

/// 0, or a negative errno.
int transfer(const Io& io, int file) {
    for (std::uint64_t already = 0; already < io.length;) {
        const std::size_t rest = io.length - already;
        const auto at = static_cast<off_t>(io.offset + already);
        const ssize_t done = io.kind == Kind::Read ? ::pread(file, io.data + already, rest, at)
                                                   : ::pwrite(file, io.data + already, rest, at);
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
