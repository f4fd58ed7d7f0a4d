// A page-table entry as guests write it: bits and their checks. Header-only; pure values.
//
// In 64-bit PV both halves of a guest run in ring 3, so every present entry gets the user bit; what keeps a guest's
// users out of its kernel is that the user root does not lead there. The global bit is taken away: the hypervisor
// changes address spaces by loading CR3, which must forget a guest's translations.
#pragma once

#include "hypervisor/base/types.hpp"
#include "hypervisor/core/frame_table.hpp"

namespace domus::hv {

namespace entry {
inline constexpr u64 present = u64{1} << 0;
inline constexpr u64 writable = u64{1} << 1;
inline constexpr u64 user = u64{1} << 2;
inline constexpr u64 write_through = u64{1} << 3;
inline constexpr u64 cache_disable = u64{1} << 4;
inline constexpr u64 accessed = u64{1} << 5;
inline constexpr u64 dirty = u64{1} << 6;
inline constexpr u64 large = u64{1} << 7; // L2 and L3: a superpage; L1: the third bit of the cache attribute (PAT)
inline constexpr u64 global = u64{1} << 8;
inline constexpr u64 no_execute = u64{1} << 63;
inline constexpr u64 frame_mask = 0x000ffffffffff000;
inline constexpr u64 cache_mask = write_through | cache_disable | large; // in an L1 entry
inline constexpr u64 upper_refused = write_through | cache_disable | large;

constexpr bool is_present(u64 e) {
    return (e & present) != 0;
}
constexpr bool is_writable(u64 e) {
    return (e & writable) != 0;
}
constexpr Mfn frame(u64 e) {
    return Mfn((e & frame_mask) >> page_shift);
}
constexpr u64 make(Mfn mfn, u64 flags) {
    return base_of(mfn).n | flags;
}

// What is stored for what the guest asks.
constexpr u64 stored(u64 asked) {
    return is_present(asked) ? (asked | user) & ~global : asked;
}
} // namespace entry

// Slots of an L4 that are the hypervisor's: 0xffff800000000000 to 0xffff87ffffffffff.
inline constexpr u32 first_hypervisor_slot = 256;
inline constexpr u32 last_hypervisor_slot = 271;
constexpr bool is_hypervisor_slot(u32 l4_index) {
    return l4_index >= first_hypervisor_slot && l4_index <= last_hypervisor_slot;
}

constexpr FrameType level_below(FrameType level) {
    return static_cast<FrameType>(static_cast<u8>(level) - 1);
}

// Which entry of a table of `level` (L1..L4) an address goes through.
constexpr u32 entry_index(Vaddr address, FrameType level) {
    return static_cast<u32>(address.n >> (page_shift + u64{9} * (static_cast<u8>(level) - u64{1}))) & 511;
}

} // namespace domus::hv
