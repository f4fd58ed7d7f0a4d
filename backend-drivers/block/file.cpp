// See file.hpp.
#include "backend-drivers/block/file.hpp"

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <utility>
#include <vector>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backend-drivers/block/mapped_file.hpp"

namespace domus::block {
namespace {

constexpr auto patience = std::chrono::seconds(20);
constexpr auto pause = std::chrono::milliseconds(20);

struct Facts {
    Medium medium;
    std::uint32_t physical = sector_size;
    std::uint32_t granularity = page_size;
};

[[noreturn]] void refuse(const Spec& spec, const std::string& why) {
    throw std::runtime_error(fmt::format("disk {}: {}", spec.path, why));
}

/// Whether there is nothing to wait for: io_uring would hand each operation to a thread all the same.
bool in_memory(int file) {
    struct statfs system {};
    return ::fstatfs(file, &system) == 0 && (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC);
}

Facts measured(const Spec& spec, int file) {
    struct stat info {};
    if (::fstat(file, &info) != 0) {
        refuse(spec, std::strerror(errno));
    }
    Facts facts;
    facts.medium.read_only = spec.read_only;
    facts.medium.discard = spec.discard && !spec.read_only;
    if (S_ISBLK(info.st_mode)) {
        std::uint64_t bytes = 0;
        unsigned physical = 0;
        if (::ioctl(file, BLKGETSIZE64, &bytes) != 0) {
            refuse(spec, std::strerror(errno));
        }
        facts.medium.bytes = bytes;
        if (::ioctl(file, BLKPBSZGET, &physical) == 0 && physical >= sector_size) {
            facts.physical = physical;
        }
    } else if (S_ISREG(info.st_mode)) {
        facts.medium.bytes = static_cast<std::uint64_t>(info.st_size);
    } else {
        refuse(spec, "is neither a block device nor an image file");
    }
    facts.medium.bytes -= facts.medium.bytes % sector_size;
    if (facts.medium.bytes == 0) {
        refuse(spec, "is smaller than a sector; make it larger: truncate -s 1G " + spec.path);
    }
    return facts;
}

class FileStorage final : public Storage {
public:
    FileStorage(FileEngine& engine, client::Descriptor file, Spec spec)
        : engine_(engine), file_(std::move(file)), spec_(std::move(spec)), facts_(measured(spec_, file_.get())) {
        map_memory();
    }
    Medium medium() const override { return facts_.medium; }
    void measure() override {
        const auto bytes = measured(spec_, file_.get()).medium.bytes;
        if (bytes != std::exchange(facts_.medium.bytes, bytes)) {
            map_memory();
        }
    }
    std::uint32_t physical_sector() const override { return facts_.physical; }
    std::uint32_t discard_granularity() const override { return facts_.granularity; }
    void start(Io& io) override {
        if (io.kind == Kind::Discard && !mapped_.empty()) {
            mapped_.back()->forget(io.offset, io.length);
        }
        engine_.start(io, file_.get());
    }
    void submit() override { engine_.submit(); }
    bool takes_parts() const override { return true; }
    std::uint8_t* bytes(std::uint64_t offset, std::uint64_t length) override {
        return mapped_.empty() ? nullptr : mapped_.back()->bytes(offset, length);
    }

private:
    void map_memory() {
        if (in_memory(file_.get())) {
            mapped_.push_back(std::make_unique<MappedFile>(file_.get(), facts_.medium.bytes, spec_.read_only));
        }
    }

    FileEngine& engine_;
    client::Descriptor file_;
    Spec spec_;
    Facts facts_;
    std::vector<std::unique_ptr<MappedFile>> mapped_; ///< the last counts; operations may be under way in those before
};

} // namespace

boost::asio::awaitable<std::unique_ptr<Storage>> FileStorages::open(Spec spec) {
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
    const auto end = std::chrono::steady_clock::now() + patience;
    for (;;) {
        Opened opened = co_await opener_->open(spec);
        const int file = opened.descriptor.get();
        if (file >= 0 && ::flock(file, (spec.read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) {
            FileEngine& engine = in_memory(file) ? in_place_ : *engine_;
            co_return std::make_unique<FileStorage>(engine, std::move(opened.descriptor), std::move(spec));
        }
        const int error = file >= 0 ? errno : opened.error;
        const bool busy = error == EWOULDBLOCK || error == EBUSY;
        if (!busy) {
            refuse(spec, file < 0 && !opened.why.empty() ? opened.why : std::strerror(error));
        }
        if (std::chrono::steady_clock::now() > end) {
            refuse(spec, "is in use by another program in dom0");
        }
        timer.expires_after(pause);
        co_await timer.async_wait(boost::asio::use_awaitable);
    }
}

} // namespace domus::block
