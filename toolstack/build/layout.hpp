// Where everything goes in a new PV guest: pure arithmetic from the kernel's wishes to frame numbers.
// Source: xen.h, "Start-of-day memory layout"; elfnote.h for INIT_P2M and MOD_START_PFN. No I/O, no state.
#pragma once

#include <cstdint>

#include "hypervisor/boot/image/image.hpp"

namespace domus::build {

/// A run of pseudo-physical frames.
struct Run {
    std::uint64_t first = 0, count = 0;
    std::uint64_t end() const { return first + count; }
    bool contains(std::uint64_t pfn) const { return pfn >= first && pfn - first < count; }
};

struct Layout {
    std::uint64_t pages = 0;     ///< all memory of the guest
    std::uint64_t virt_base = 0; ///< where frame 0 appears in the initial mapping
    std::uint64_t mapped = 0;    ///< frames [0, mapped) are in the initial mapping
    Run kernel;                  ///< loaded segments, gaps included
    Run ramdisk;                 ///< above `mapped` when the kernel takes it by frame number
    Run p2m;                     ///< the frame list; above `mapped` when it has its own address
    Run p2m_tables;              ///< page tables of the frame list's own address; just before `p2m`
    Run tables;                  ///< page tables of the initial mapping; the first is the L4
    std::uint64_t start_info = 0, store = 0, console = 0, stack = 0;
    std::uint64_t p2m_address = 0; ///< virtual
    bool ramdisk_by_frame = false;

    std::uint64_t address(std::uint64_t pfn) const { return virt_base + pfn * 4096; }
};

/// Lays out a guest of `pages` frames. Throws build::Error when it does not fit, saying how much would.
Layout lay_out(const image::Kernel& kernel, std::uint64_t pages, std::uint64_t ramdisk_bytes);

/// Page tables below the L4 that map [start, end).
std::uint64_t tables_for(std::uint64_t start, std::uint64_t end);

} // namespace domus::build
