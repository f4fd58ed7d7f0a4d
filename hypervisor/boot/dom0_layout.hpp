// Where everything lies in dom0's memory at its start (the picture at struct start_info in <xen/xen.h>). Pure
// arithmetic.
#pragma once

#include "hypervisor/boot/image/image.hpp"

#include <optional>

namespace domus::hv {

// Pages by pseudo-physical frame number; the first mapped_pages are mapped from virt_base on.
struct Dom0Layout {
    u64 pages = 0; // dom0's memory
    u64 module_pfn = 0, module_pages = 0;
    u64 p2m_pfn = 0, p2m_pages = 0;
    u64 start_info_pfn = 0;
    u64 tables_pfn = 0, table_pages = 0; // page tables of the initial mapping; the first is the L4
    u64 stack_pfn = 0;
    u64 mapped_pages = 0; // to a multiple of 4 MiB, with at least 512 KiB to spare
    u64 virt_base = 0;
    u64 p2m_address = 0;       // INIT_P2M note, or in the initial mapping
    bool p2m_apart = false;    // at INIT_P2M, beyond the initial mapping
    bool module_apart = false; // handed over by frame number

    u64 virtual_of(u64 pfn) const { return virt_base + pfn * page_size; }
};

// Nothing: it does not fit in so many pages, or what is mapped at the start does not fit in the guest's addresses.
std::optional<Dom0Layout> lay_out_dom0(const image::Kernel&, u64 pages, u64 module_bytes);

} // namespace domus::hv
