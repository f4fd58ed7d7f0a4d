// Where everything lies in dom0's memory at its start. Owner: no state.
#include "hypervisor/boot/dom0_layout.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/base/checked.hpp"

namespace domus::hv {
namespace {

constexpr u64 spare = 512 << 10, alignment = 4 << 20;

// Tables of one level that cover [start, end) with `shift` address bits each.
u64 tables_for(u64 start, u64 end, u32 shift) {
    return start == end ? 0 : ((end - 1) >> shift) - (start >> shift) + 1;
}

u64 count_tables(const Dom0Layout& l) {
    u64 count = 1;
    for (u32 shift : {21, 30, 39}) {
        count += tables_for(l.virt_base, l.virtual_of(l.mapped_pages), shift);
        if (l.p2m_apart)
            count += tables_for(l.p2m_address, l.p2m_address + l.p2m_pages * page_size, shift);
    }
    return count;
}

// The stack page, and behind it what is mapped to spare; the tables are in the mapping that they make. False: no end.
bool place_tables(Dom0Layout& l) {
    for (l.table_pages = 1;;) {
        l.stack_pfn = l.tables_pfn + l.table_pages;
        l.mapped_pages = round_up((l.stack_pfn + 1) * page_size + spare, alignment) / page_size;
        if (l.mapped_pages > l.pages || !arch::is_guest_range(Vaddr(l.virt_base), l.mapped_pages * page_size))
            return false;
        const u64 needed = count_tables(l);
        if (needed <= l.table_pages)
            return true;
        l.table_pages = needed;
    }
}

// The p2m list's own place, beside the initial mapping.
bool is_p2m_place(const Dom0Layout& l) {
    const u64 last = l.p2m_address + l.p2m_pages * page_size - 1, last_mapped = l.virtual_of(l.mapped_pages) - 1;
    return arch::is_guest_range(Vaddr(l.p2m_address), l.p2m_pages * page_size) &&
           (last < l.virt_base || last_mapped < l.p2m_address);
}

} // namespace

std::optional<Dom0Layout> lay_out_dom0(const image::Kernel& k, u64 pages, u64 module_bytes) {
    constexpr u64 most_pages = u64{1} << 40; // what follows stays far from the end of the numbers
    if (pages > most_pages || module_bytes > pages * page_size || k.virt_end < k.virt_base ||
        k.virt_end - k.virt_base > pages * page_size)
        return std::nullopt;
    Dom0Layout l;
    l.pages = pages;
    l.virt_base = k.virt_base;
    l.p2m_pages = pages_for(pages * 8);
    l.module_pages = pages_for(module_bytes);
    l.p2m_apart = k.init_p2m.has_value();
    l.module_apart = k.mod_start_pfn;
    u64 next = pages_for(k.virt_end - k.virt_base);
    const auto take = [&next](u64 count) {
        const u64 at = next;
        next += count;
        return at;
    };
    if (!l.module_apart)
        l.module_pfn = take(l.module_pages);
    if (!l.p2m_apart) {
        l.p2m_pfn = take(l.p2m_pages);
        l.p2m_address = l.virtual_of(l.p2m_pfn);
    } else {
        l.p2m_address = *k.init_p2m;
    }
    l.start_info_pfn = take(1);
    l.tables_pfn = next;
    if (!place_tables(l) || (l.p2m_apart && !is_p2m_place(l)))
        return std::nullopt;
    next = l.mapped_pages; // beyond it: what is not mapped at the start
    if (l.p2m_apart)
        l.p2m_pfn = take(l.p2m_pages);
    if (l.module_apart)
        l.module_pfn = take(l.module_pages);
    return next <= pages ? std::optional(l) : std::nullopt;
}

} // namespace domus::hv
