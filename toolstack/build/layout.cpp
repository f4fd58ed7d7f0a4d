// See layout.hpp.
#include "toolstack/build/layout.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "toolstack/build/build.hpp"

namespace domus::build {
namespace {

constexpr std::uint64_t page = 4096;
constexpr std::uint64_t padding_frames = (512u << 10) / page; // promised after the last bootstrap element
constexpr std::uint64_t granule_frames = (4u << 20) / page;   // the initial mapping ends on a multiple of this
// The hypervisor's own part of the address space (arch-x86/xen-x86_64.h) and what surrounds it non-canonically.
constexpr std::uint64_t lower_half_end = 0x0000800000000000, hypervisor_end = 0xffff880000000000;

constexpr std::uint64_t frames(std::uint64_t bytes) {
    return bytes / page + (bytes % page != 0);
}
constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
    return (value + unit - 1) / unit * unit;
}

bool usable(std::uint64_t start, std::uint64_t bytes) {
    if (bytes == 0 || start + bytes < start) {
        return false; // a range that ends at the very top wraps to 0 and is given up for simplicity
    }
    return start + bytes <= lower_half_end || start >= hypervisor_end;
}

/// Takes frames one run after the other.
struct Cursor {
    std::uint64_t next;
    Run take(std::uint64_t count) {
        const Run run{next, count};
        next += count;
        return run;
    }
};

/// Settles the size of the page tables, which lie in the range they map.
void place_tables_and_stack(Layout& layout, std::uint64_t first) {
    std::uint64_t count = 1;
    for (;;) {
        const std::uint64_t end = first + count + 1 + padding_frames; // 1: the boot stack
        const std::uint64_t mapped = round_up(end, granule_frames);
        if (!usable(layout.virt_base, mapped * page)) {
            throw Error(
                fmt::format("kernel and RAM disk, mapped from {:#x}, run into the hypervisor's addresses or the "
                            "end of memory; use a smaller RAM disk",
                            layout.virt_base));
        }
        const std::uint64_t needed = 1 + tables_for(layout.virt_base, layout.address(mapped));
        if (needed <= count) {
            layout.tables = {first, count};
            layout.stack = first + count;
            // A guest smaller than the rounding gets what it has; the padding itself is not given up.
            layout.mapped = std::max(end, std::min(mapped, layout.pages));
            return;
        }
        count = needed;
    }
}

std::uint64_t mib(std::uint64_t page_count) {
    return (page_count * page + (1u << 20) - 1) >> 20;
}

} // namespace

std::uint64_t tables_for(std::uint64_t start, std::uint64_t end) {
    std::uint64_t count = 0;
    for (const unsigned shift : {21u, 30u, 39u}) { // bytes one L1, L2, L3 table maps
        count += ((end - 1) >> shift) - (start >> shift) + 1;
    }
    return count;
}

Layout lay_out(const image::Kernel& kernel, std::uint64_t pages, std::uint64_t ramdisk_bytes) {
    Layout layout;
    layout.pages = pages;
    layout.virt_base = kernel.virt_base;
    if (layout.virt_base % page != 0 || kernel.virt_start < layout.virt_base ||
        !usable(layout.virt_base, kernel.virt_end - layout.virt_base)) {
        throw Error(
            fmt::format("the kernel's VIRT_BASE note {:#x} does not fit its image at {:#x} to {:#x}; the kernel "
                        "is damaged or not made for 64-bit PV",
                        layout.virt_base, kernel.virt_start, kernel.virt_end));
    }
    const std::uint64_t first = (kernel.virt_start - layout.virt_base) / page;
    layout.kernel = {first, frames(kernel.virt_end - layout.virt_base) - first};

    const std::uint64_t ramdisk_frames = frames(ramdisk_bytes), p2m_frames = frames(pages * sizeof(std::uint64_t));
    layout.ramdisk_by_frame = kernel.mod_start_pfn && ramdisk_bytes != 0;
    Cursor mapped{layout.kernel.end()};
    if (ramdisk_bytes != 0 && !layout.ramdisk_by_frame) {
        layout.ramdisk = mapped.take(ramdisk_frames);
    }
    if (!kernel.init_p2m) {
        layout.p2m = mapped.take(p2m_frames);
        layout.p2m_address = layout.address(layout.p2m.first);
    }
    layout.start_info = mapped.take(1).first;
    layout.store = mapped.take(1).first;
    layout.console = mapped.take(1).first;
    place_tables_and_stack(layout, mapped.next);

    Cursor unmapped{layout.mapped};
    if (kernel.init_p2m) {
        layout.p2m_address = *kernel.init_p2m;
        const std::uint64_t bytes = p2m_frames * page;
        const bool collides =
            layout.p2m_address < layout.address(layout.mapped) && layout.p2m_address + bytes > layout.virt_base;
        if (layout.p2m_address % page != 0 || !usable(layout.p2m_address, bytes) || collides) {
            throw Error(fmt::format("the kernel's INIT_P2M note {:#x} is no place for a frame list of {} KiB",
                                    layout.p2m_address, bytes / 1024));
        }
        layout.p2m_tables = unmapped.take(tables_for(layout.p2m_address, layout.p2m_address + bytes));
        layout.p2m = unmapped.take(p2m_frames);
    }
    if (layout.ramdisk_by_frame) {
        layout.ramdisk = unmapped.take(ramdisk_frames);
    }
    if (unmapped.next > pages) {
        throw Error(
            fmt::format("memory = {} MiB is too little for this kernel{}: at least {} MiB are needed to load it; "
                        "raise memory= in the configuration",
                        mib(pages), ramdisk_bytes ? " and RAM disk" : "", mib(unmapped.next)));
    }
    return layout;
}

} // namespace domus::build
