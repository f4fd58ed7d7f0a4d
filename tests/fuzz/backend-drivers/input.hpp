// What the fuzz targets of the backends share: the input as a stream of bytes, and how a target says that it found
// something.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace domus::fuzz {

inline void demand(bool holds) {
    if (!holds) {
        std::abort();
    }
}

/// The input, used up from the front; zeros when it has run out.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
    bool left() const { return size_ != 0; }
    void fill(void* to, std::size_t size) {
        const std::size_t count = std::min(size, size_);
        std::memset(to, 0, size);
        std::memcpy(to, data_, count);
        data_ += count;
        size_ -= count;
    }
    std::uint8_t byte() {
        std::uint8_t value = 0;
        fill(&value, 1);
        return value;
    }

private:
    const std::uint8_t* data_;
    std::size_t size_;
};

} // namespace domus::fuzz
