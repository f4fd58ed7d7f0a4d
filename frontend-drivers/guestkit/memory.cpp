// Frames, translation and page-table hypercalls; see memory.hpp. Sources: <xen/xen.h>, <xen/arch-x86/xen-x86_64.h>.
#include "frontend-drivers/guestkit/memory.hpp"

#include "frontend-drivers/guestkit/start.hpp"

extern "C" domus::u8 guest_start[];

namespace domus::guest {
namespace {

constexpr unsigned pool_pages = 256;
alignas(page_size) u8 pool[pool_pages][page_size];
unsigned pool_used;

u64 guest_base() {
    return reinterpret_cast<u64>(guest_start);
}
const u64* p2m() {
    return reinterpret_cast<const u64*>(boot_info->mfn_list);
}

} // namespace

void* take_page() {
    if (pool_used == pool_pages)
        die("page pool is used up");
    return pool[pool_used++];
}

unsigned pages_left() {
    return pool_pages - pool_used;
}

Pfn pfn_of(const void* address) {
    return Pfn((reinterpret_cast<u64>(address) - guest_base()) >> page_shift);
}
Mfn mfn_of(const void* address) {
    return Mfn(p2m()[pfn_of(address).n]);
}
void* address_of(Pfn pfn) {
    return reinterpret_cast<void*>(guest_base() + (pfn.n << page_shift));
}
Pfn pfn_of(Mfn mfn) {
    return Pfn(reinterpret_cast<const u64*>(MACH2PHYS_VIRT_START)[mfn.n]);
}
void* address_of(Mfn mfn) {
    return address_of(pfn_of(mfn));
}

u64 machine_address_of(const void* address) {
    return base_of(mfn_of(address)).n | (reinterpret_cast<u64>(address) & page_mask);
}

u64* entry_of(const void* address, int level) {
    auto* table = reinterpret_cast<u64*>(boot_info->pt_base);
    for (int at = 4;; --at) {
        u64* entry = table + (reinterpret_cast<u64>(address) >> (page_shift + 9 * static_cast<u64>(at - 1))) % 512;
        if (at == level)
            return entry;
        if (!(*entry & pte_present))
            return nullptr;
        table = static_cast<u64*>(address_of(Mfn((*entry & pte_frame_mask) >> page_shift)));
    }
}

u64 make_entry(const void* page, u64 flags) {
    return base_of(mfn_of(page)).n | pte_base | flags;
}

long update_va_mapping(void* address, u64 entry, u64 flags) {
    return hypercall(__HYPERVISOR_update_va_mapping, address, entry, flags);
}

long map_page(void* address, Mfn mfn, u64 flags) {
    return update_va_mapping(address, base_of(mfn).n | pte_base | flags);
}

long protect_page(void* page, bool writable) {
    return update_va_mapping(page, make_entry(page, writable ? pte_writable : 0));
}

long update_entry(u64 machine_address, u64 value, u64 command, u16 domain) {
    mmu_update_t request{machine_address | command, value};
    return hypercall(__HYPERVISOR_mmu_update, &request, 1, nullptr, domain);
}

long mmuext(mmuext_op_t op) {
    return hypercall(__HYPERVISOR_mmuext_op, &op, 1, nullptr, DOMID_SELF);
}

long mmuext(unsigned command, Mfn mfn) {
    mmuext_op_t op{};
    op.cmd = command;
    op.arg1.mfn = mfn.n;
    return mmuext(op);
}

long flush_tlb() {
    return mmuext(MMUEXT_TLB_FLUSH_LOCAL, Mfn{});
}

} // namespace domus::guest
