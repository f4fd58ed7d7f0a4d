// A fixed-size set of bits. Header-only; not atomic: its owner's lock protects it.
#pragma once

#include "hypervisor/base/types.hpp"

#include <array>
#include <bit>

namespace domus {

template <usize Bits>
class Bitmap {
public:
    static constexpr usize none = ~usize{0};
    constexpr bool test(usize i) const { return (words_[i / 64] >> (i % 64)) & 1; }
    constexpr void set(usize i) { words_[i / 64] |= u64{1} << (i % 64); }
    constexpr void clear(usize i) { words_[i / 64] &= ~(u64{1} << (i % 64)); }
    constexpr void assign(usize i, bool on) { on ? set(i) : clear(i); }
    constexpr void clear_all() { words_ = {}; }
    constexpr void set_all() {
        for (usize i = 0; i < Bits; ++i)
            set(i);
    }
    constexpr bool any() const {
        for (u64 word : words_) {
            if (word)
                return true;
        }
        return false;
    }
    constexpr usize count() const {
        usize sum = 0;
        for (u64 word : words_)
            sum += static_cast<usize>(std::popcount(word));
        return sum;
    }
    constexpr usize first_set() const { return next_set(0); }
    constexpr usize next_set(usize from) const {
        for (usize i = from; i < Bits; ++i) {
            if (test(i))
                return i;
        }
        return none;
    }

private:
    std::array<u64, (Bits + 63) / 64> words_{};
};

} // namespace domus
