// See mapped_file.hpp.
#include "backend-drivers/block/mapped_file.hpp"

#include <algorithm>

#include <sys/mman.h>

#include "backend-drivers/block/request.hpp"

namespace domus::block {
namespace {

/// Larger files have holes, or a machine that can do without this; it bounds what is kept of each page.
constexpr std::uint64_t largest = std::uint64_t{1} << 38;

std::uint64_t page_of(std::uint64_t byte) {
    return byte / page_size;
}

std::uint64_t page_behind(std::uint64_t byte) {
    return (byte + page_size - 1) / page_size;
}

} // namespace

MappedFile::MappedFile(int file, std::uint64_t length, bool read_only) : length_(length) {
    void* memory = length <= largest
                       ? ::mmap(nullptr, length, PROT_READ | (read_only ? 0 : PROT_WRITE), MAP_SHARED, file, 0)
                       : MAP_FAILED;
    if (memory != MAP_FAILED) {
        memory_ = static_cast<std::uint8_t*>(memory);
        there_.resize(page_behind(length));
    }
}

MappedFile::~MappedFile() {
    if (memory_ != nullptr) {
        ::munmap(memory_, length_);
    }
}

std::uint8_t* MappedFile::bytes(std::uint64_t offset, std::uint64_t length) {
    if (memory_ == nullptr || offset > length_ || length > length_ - offset) {
        return nullptr;
    }
    const auto first = page_of(offset), end = page_behind(offset + length);
    for (auto page = first; page < end; ++page) {
        if (!there_[page]) {
            return look(first, end) ? memory_ + offset : nullptr;
        }
    }
    return memory_ + offset;
}

/// Whether all pages are there. One that was moved to swap counts as a hole until it is read in the other way.
bool MappedFile::look(std::uint64_t first, std::uint64_t end) {
    constexpr std::uint64_t at_once = 256;
    bool all = true;
    for (; first < end; first += at_once) {
        unsigned char seen[at_once] = {};
        const auto count = std::min(at_once, end - first);
        all &= ::mincore(memory_ + first * page_size, count * page_size, seen) == 0;
        for (std::uint64_t i = 0; i < count; ++i) {
            there_[first + i] = (seen[i] & 1) != 0;
            all &= there_[first + i];
        }
    }
    return all;
}

void MappedFile::forget(std::uint64_t offset, std::uint64_t length) {
    for (auto page = page_of(offset); page < std::min<std::uint64_t>(page_behind(offset + length), there_.size());
         ++page) {
        there_[page] = false;
    }
}

} // namespace domus::block
