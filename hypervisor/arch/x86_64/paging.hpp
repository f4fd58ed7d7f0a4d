// The hypervisor's own address space: image with W^X, direct map, frame table, machine-to-phys table, devices, windows.
// Built once at boot; slots 256..271 never change afterwards at the top level, so every guest root shares them.
#pragma once

#include "hypervisor/base/types.hpp"

#include <span>

namespace domus::hv::arch {

struct RamRange {
    u64 start, end; // bytes, page-aligned
};

// Start-up memory: taken from the RAM ranges before the frame allocator exists; never given back.
void boot_memory_start(std::span<const RamRange> usable, std::span<const RamRange> taken);
u64 boot_allocate(u64 bytes, u64 alignment = page_size); // machine address, zeroed; panics when out
// What is left: calls `give(start, end)` for every free range of frames.
void boot_memory_finish(void (*give)(Mfn, Mfn));

void build_address_space(std::span<const RamRange> ram);
void* map_device(u64 machine_address, u64 bytes); // uncached, for good
void set_hypervisor_page(u64 address, u64 entry); // one 4 KiB entry in the window or device region; makes tables
Mfn hypervisor_root();

namespace pte {
inline constexpr u64 present = 1, writable = 2, user = 4, write_through = 8, uncached = 16, accessed = 32, dirty = 64,
                     large = 128, global = 256, no_execute = u64{1} << 63;
inline constexpr u64 address_mask = 0x000ffffffffff000;
} // namespace pte

} // namespace domus::hv::arch
