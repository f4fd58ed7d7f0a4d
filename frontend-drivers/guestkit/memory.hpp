// Memory of a mini guest: its frames, where they are, and the hypercalls that change mappings and page tables.
// All memory used lies in the image's own zeroed pool, which the initial mapping covers. No lock: vcpu 0 takes pages.
// Functions that end in a hypercall return its result: 0 or a negative errno.
#pragma once

#include "frontend-drivers/guestkit/hypercall.hpp"

namespace domus::guest {

inline constexpr u64 pte_present = 1, pte_writable = 2, pte_user = 4, pte_accessed = 32, pte_dirty = 64;
inline constexpr u64 pte_large = 128, pte_no_execute = u64{1} << 63;
inline constexpr u64 pte_frame_mask = 0x000ffffffffff000;
inline constexpr u64 pte_base = pte_present | pte_user | pte_accessed; // what every useful entry has

// A page of the pool, zeroed; the guest dies when the pool (1 MiB) is used up.
void* take_page();
unsigned pages_left();

// Translation of addresses inside the initial mapping; m2p reads the hypervisor's table.
Mfn mfn_of(const void* address);
Pfn pfn_of(const void* address);
void* address_of(Pfn pfn);
void* address_of(Mfn mfn);
Pfn pfn_of(Mfn mfn);
u64 machine_address_of(const void* address); // frame and offset, as mmu_update wants it

// Page-table entries of the initial tables. `level` 1 to 4; the entry is read-only memory of ours.
u64* entry_of(const void* address, int level);
u64 make_entry(const void* page, u64 flags = pte_writable); // an entry mapping `page`, with pte_base

// Changes the mapping of one page-aligned address, through update_va_mapping with a local flush.
long map_page(void* address, Mfn mfn, u64 flags);
long update_va_mapping(void* address, u64 entry, u64 flags = UVMF_INVLPG | UVMF_LOCAL);
// Takes write permission of a pool page away, or gives it back.
long protect_page(void* page, bool writable);

// One mmu_update request; `command` is MMU_NORMAL_PT_UPDATE and so on.
long update_entry(u64 machine_address, u64 value, u64 command = MMU_NORMAL_PT_UPDATE, u16 domain = DOMID_SELF);
// mmuext_op with one operation.
long mmuext(unsigned command, Mfn mfn);
long mmuext(mmuext_op_t op);
inline long pin(int level, Mfn mfn) {
    return mmuext(static_cast<unsigned>(MMUEXT_PIN_L1_TABLE + level - 1), mfn);
}
inline long unpin(Mfn mfn) {
    return mmuext(MMUEXT_UNPIN_TABLE, mfn);
}
long flush_tlb();

} // namespace domus::guest
