// Bump allocator over the caller's scratch memory, in the shapes the decoders' libraries ask for.
// Owner: one unpack() call, on its stack. No lock. Nothing is given back before the whole arena goes.
#pragma once

#include "hypervisor/base/checked.hpp"

#include <span>

namespace domus::image {

class Arena {
public:
    static constexpr u64 alignment = 64; // a cache line: what zstd's work space and SSE code like

    explicit Arena(std::span<u8> memory) : memory_(memory) {}

    // `count` * `size` bytes aligned to 64, not zeroed; nullptr when the arena is used up.
    void* take(u64 count, u64 size) {
        const auto bytes = checked_multiply(count, size);
        const u64 start = reinterpret_cast<u64>(memory_.data());
        const u64 at = round_up(start + used_, alignment) - start;
        if (!bytes || !fits(at, *bytes, memory_.size()))
            return nullptr;
        used_ = at + *bytes;
        return memory_.data() + at;
    }

    // All that is left, aligned to 64.
    std::span<u8> rest() {
        void* start = take(0, 0);
        return start ? memory_.subspan(used_) : std::span<u8>{};
    }

private:
    std::span<u8> memory_;
    u64 used_ = 0;
};

} // namespace domus::image
