// Strong number types: every kind of address, frame and identifier is a type of its own, in every build.
// Header-only; depends on nothing. Used by everything.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace domus {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
using usize = std::size_t;

inline constexpr u64 page_shift = 12;
inline constexpr u64 page_size = u64{1} << page_shift;
inline constexpr u64 page_mask = page_size - 1;

// A number that only mixes with its own kind. `n` is the raw value, for the edges.
template <class Tag, class Raw>
struct Number {
    Raw n{};
    constexpr Number() = default;
    explicit constexpr Number(Raw raw) : n(raw) {}
    constexpr auto operator<=>(const Number&) const = default; // NOLINT(modernize-use-nullptr): clang-tidy 14's mistake
    constexpr Number operator+(Raw by) const { return Number(static_cast<Raw>(n + by)); }
    constexpr Number operator-(Raw by) const { return Number(static_cast<Raw>(n - by)); }
    constexpr Raw operator-(Number other) const { return n - other.n; }
    constexpr Number& operator++() {
        ++n;
        return *this;
    }
};

using Mfn = Number<struct MfnTag, u64>;     // machine frame number
using Pfn = Number<struct PfnTag, u64>;     // a guest's own ("pseudo-physical") frame number
using Maddr = Number<struct MaddrTag, u64>; // machine address in bytes
using Vaddr = Number<struct VaddrTag, u64>; // virtual address in the guest's address space
using DomId = Number<struct DomIdTag, u16>;
using VcpuId = Number<struct VcpuIdTag, u32>;
using CpuId = Number<struct CpuIdTag, u32>;
using PortNo = Number<struct PortNoTag, u32>;
using GrantRef = Number<struct GrantRefTag, u32>;
using Nanoseconds = Number<struct NanosecondsTag, u64>; // since the hypervisor's start ("system time")

inline constexpr Mfn invalid_mfn{~u64{0}};

constexpr Maddr base_of(Mfn m) {
    return Maddr(m.n << page_shift);
}
constexpr Mfn frame_of(Maddr a) {
    return Mfn(a.n >> page_shift);
}
constexpr Vaddr page_of(Vaddr a) {
    return Vaddr(a.n & ~page_mask);
}
constexpr bool is_page_aligned(u64 a) {
    return (a & page_mask) == 0;
}
constexpr u64 pages_for(u64 bytes) {
    return (bytes + page_mask) >> page_shift;
}

// 48-bit addresses: bits 63..47 all equal. (5-level paging is never enabled.)
constexpr bool is_canonical(u64 a) {
    return static_cast<u64>(static_cast<i64>(a << 16) >> 16) == a;
}
constexpr bool is_canonical(Vaddr a) {
    return is_canonical(a.n);
}

} // namespace domus
