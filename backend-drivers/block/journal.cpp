// See journal.hpp.
#include "backend-drivers/block/journal.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

namespace domus::block {
namespace {
constexpr std::uint64_t magic = 0x31306c6e6a627664; // "dvbjnl01"

void in_order() {
    std::atomic_signal_fence(std::memory_order_seq_cst); // for the compiler; the CPU retires stores in order
}
} // namespace

Journal::Journal(const std::string& path, From from) {
    const bool anew = from == From::Nothing;
    if (anew) {
        ::unlink(path.c_str());
    }
    const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | (anew ? O_CREAT | O_EXCL : 0), 0600);
    void* memory = MAP_FAILED;
    if (file >= 0 && (!anew || ::ftruncate(file, sizeof(Page)) == 0) &&
        ::lseek(file, 0, SEEK_END) == off_t{sizeof(Page)}) {
        memory = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    const int error = errno;
    if (file >= 0) {
        ::close(file);
    }
    if (memory == MAP_FAILED) {
        throw std::runtime_error(fmt::format("the disk's journal {}: {}", path, std::strerror(error)));
    }
    page_ = static_cast<Page*>(memory);
    if (anew) {
        page_->magic = magic;
    } else if (page_->magic != magic) {
        ::munmap(memory, sizeof(Page));
        throw std::runtime_error(fmt::format("the disk's journal {} is none", path));
    }
}

Journal::~Journal() {
    ::munmap(page_, sizeof(Page));
}

void Journal::answering(unsigned queue, std::uint32_t index, const blkif_request_t& request) {
    Entry& entry = page_->entries[queue];
    entry.valid = 0;
    in_order();
    entry.index = index;
    entry.request = request;
    in_order();
    entry.valid = 1;
    in_order();
}

std::optional<blkif_request_t> Journal::at(unsigned queue, std::uint32_t index) const {
    const Entry& entry = page_->entries[queue];
    if (entry.valid == 0 || entry.index != index) {
        return std::nullopt;
    }
    return entry.request;
}

} // namespace domus::block
