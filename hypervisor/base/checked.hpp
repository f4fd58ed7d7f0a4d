// Arithmetic that says when it does not fit, and ranges that are checked whole. Header-only.
#pragma once

#include "hypervisor/base/types.hpp"

#include <optional>

namespace domus {

constexpr std::optional<u64> checked_add(u64 a, u64 b) {
    u64 sum = 0;
    if (__builtin_add_overflow(a, b, &sum))
        return std::nullopt;
    return sum;
}

constexpr std::optional<u64> checked_multiply(u64 a, u64 b) {
    u64 product = 0;
    if (__builtin_mul_overflow(a, b, &product))
        return std::nullopt;
    return product;
}

// Does [start, start + length) lie in [0, limit)?
constexpr bool fits(u64 start, u64 length, u64 limit) {
    auto end = checked_add(start, length);
    return end && *end <= limit;
}

constexpr u64 round_up(u64 value, u64 to) {
    return (value + to - 1) / to * to;
}
constexpr u64 round_down(u64 value, u64 to) {
    return value / to * to;
}

} // namespace domus
