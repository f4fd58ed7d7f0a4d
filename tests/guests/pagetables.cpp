// Page tables: build, pin, update, unpin; what would break isolation is refused, whichever path asks for it.
#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/test.hpp"
#include "frontend-drivers/guestkit/traps.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

u64* new_table() {
    return static_cast<u64*>(take_page());
}
u64* current_l4() {
    return reinterpret_cast<u64*>(boot_info->pt_base);
}
long write_entry(u64* entry, u64 value) {
    return update_entry(machine_address_of(entry), value);
}
u64 read_at(u64 address) {
    u64 value = 0;
    return try_read(reinterpret_cast<void*>(address), value) ? ~u64{0} : value;
}

constexpr u64 free_address = u64{1} << 40; // L4 slot 2, free in every guest

void build_and_use() {
    u64* l1 = new_table();
    u64* l2 = new_table();
    u64* l3 = new_table();
    auto* page = new_table();
    page[0] = 0x5a5a;
    l1[0] = make_entry(page);
    l2[0] = make_entry(l1);
    l3[0] = make_entry(l2);
    expect(pin(1, mfn_of(l1)), -XEN_EINVAL, "pin_writable_l1_is_refused");
    protect_page(l1, false);
    expect(pin(1, mfn_of(l1)), 0, "pin_l1");
    expect(pin(1, mfn_of(l1)), -XEN_EINVAL, "pin_twice_is_refused");
    expect(pin(2, mfn_of(l1)), -XEN_EINVAL, "pin_l1_as_l2_is_refused");
    protect_page(l2, false);
    protect_page(l3, false);
    expect(write_entry(&current_l4()[2], make_entry(l3)), 0, "hook_l3");
    check(read_at(free_address) == 0x5a5a, "reads_through_new_tables", "%lx", read_at(free_address));
    check(protect_page(l2, true) < 0, "table_in_use_stays_read_only");
    expect(write_entry(&l1[1], make_entry(page, 0)), 0, "map_read_only");
    check(read_at(free_address + 0x1000) == 0x5a5a, "second_mapping");
    check(try_write(reinterpret_cast<void*>(free_address + 0x1000), 1) == 15, "second_mapping_is_read_only");
    expect(write_entry(&l1[1], 0), 0, "unmap");
    flush_tlb();
    check(read_at(free_address + 0x1000) == ~u64{0}, "unmapped");
    expect(unpin(mfn_of(l1)), 0, "unpin_l1");
    check(read_at(free_address) == 0x5a5a, "still_mapped_after_unpin");
    expect(write_entry(&current_l4()[2], 0), 0, "unhook_l3");
    flush_tlb();
    expect(protect_page(l2, true), 0, "free_table_is_writable");
    expect(unpin(mfn_of(l1)), -XEN_EINVAL, "unpin_of_unpinned_is_refused");
}

void refused_entries() {
    u64* l1 = new_table();
    u64* l2 = new_table();
    auto* page = new_table();
    protect_page(l1, false);
    expect(pin(1, mfn_of(l1)), 0, "pin_l1_empty");
    check(write_entry(&l1[0], make_entry(l1, pte_writable)) < 0, "writable_self_map_is_refused");
    check(write_entry(&l1[0], make_entry(current_l4(), pte_writable)) < 0, "writable_map_of_l4_is_refused");
    expect(write_entry(&l1[0], make_entry(current_l4(), 0)), 0, "read_only_map_of_l4");
    check(write_entry(&l1[1], u64{0xfffff000} << 12 | pte_base) < 0, "frame_beyond_ram_is_refused");
    check(write_entry(&l1[1], make_entry(page) | u64{1} << 52 | u64{1} << 45) < 0, "reserved_bits_are_refused");
    const u64 hypervisor_frame = base_of(Mfn(0x100)).n; // below dom0's memory: not ours in any case as a domU
    if (!is_dom0()) {
        check(write_entry(&l1[1], hypervisor_frame | pte_base) < 0, "foreign_frame_is_refused");
    }
    check(write_entry(&l2[0], make_entry(l1)) < 0 || l2[0] == make_entry(l1), "update_of_no_table");
    check(update_entry(machine_address_of(&l1[2]) + 4, 0) <= 0 && l1[2] == 0, "unaligned_update_is_harmless");
    expect(write_entry(&l1[0], 0), 0, "clear");
    protect_page(l2, false);
    expect(pin(2, mfn_of(l2)), 0, "pin_l2_empty");
    check(write_entry(&l2[0], make_entry(page) | pte_large) < 0, "large_page_is_refused");
    check(write_entry(&l2[0], make_entry(l2)) < 0, "l2_self_map_is_refused");
    expect(write_entry(&l2[0], 0), 0, "clear_l2");
    expect(unpin(mfn_of(l2)), 0, "unpin_l2");
    expect(unpin(mfn_of(l1)), 0, "unpin");
}

void reserved_slots() {
    u64* l4 = current_l4();
    u64* l3 = new_table();
    protect_page(l3, false);
    const u64 entry = make_entry(l3);
    check(write_entry(&l4[256], entry) < 0, "slot_256_is_refused");
    check(write_entry(&l4[271], entry) < 0, "slot_271_is_refused");
    check(write_entry(&l4[260], 0) < 0, "clearing_slot_260_is_refused");
    expect(write_entry(&l4[272], entry), 0, "slot_272_is_ours");
    expect(write_entry(&l4[272], 0), 0, "slot_272_cleared");
    check(write_entry(&l4[3], make_entry(l4, pte_writable)) < 0, "writable_l4_self_map_is_refused");
    const long self = write_entry(&l4[3], make_entry(l4, 0));
    check(self <= 0, "read_only_l4_self_map");
    print("  read-only L4 self map: %ld\n", self);
    if (self == 0) {
        write_entry(&l4[3], 0);
    }
    // a guest's own values in the reserved slots of a new L4 must not be taken over
    u64* fresh = new_table();
    fresh[256] = entry;
    fresh[511] = l4[511];
    protect_page(fresh, false);
    expect(pin(4, mfn_of(fresh)), 0, "pin_l4_with_value_in_slot_256");
    expect(mmuext(MMUEXT_NEW_BASEPTR, mfn_of(fresh)), 0, "new_baseptr");
    check(pfn_of(mfn_of(fresh)) == pfn_of(fresh), "m2p_is_there_under_new_root");
    expect(mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l4)), 0, "old_baseptr");
    write_entry(&l4[272], entry); // in use as an L3: an unused page of zeros would be a valid, deadly root
    check(mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l3)) < 0, "l3_as_root_is_refused");
    write_entry(&l4[272], 0);
    expect(unpin(mfn_of(fresh)), 0, "unpin_l4");
}

void va_mapping() {
    auto* page = new_table();
    auto* other = new_table();
    other[0] = 0x77;
    expect(update_va_mapping(page, make_entry(other)), 0, "update_va_mapping");
    check(*static_cast<volatile u64*>(page) == 0x77, "sees_other_page");
    expect(update_va_mapping(page, 0), 0, "unmap_va");
    u64 value;
    check(try_read(page, value) == 15, "unmapped_va");
    expect(update_va_mapping(page, make_entry(page)), 0, "map_va_again");
    check(update_va_mapping(reinterpret_cast<void*>(free_address), make_entry(page)) < 0, "no_table_there_is_refused");
    check(update_va_mapping(reinterpret_cast<void*>(0xffff820000000000), make_entry(page)) < 0,
          "hypervisor_va_is_refused");
    check(update_va_mapping(page, make_entry(current_l4())) < 0, "writable_table_by_va_is_refused");
    check(*static_cast<volatile u64*>(page) == 0, "refused_update_left_mapping");
}

// Writes of the guest to its own pinned tables trap and are carried out by the hypervisor.
void stray_writes() {
    auto* page = new_table();
    auto* other = new_table();
    other[0] = 0x99;
    u64* entry = entry_of(page, 1);
    check(entry != nullptr, "finds_own_entry");
    if (!entry)
        return;
    check(try_write(entry, make_entry(other)) == 0, "write_to_pinned_l1_is_emulated");
    flush_tlb();
    check(*static_cast<volatile u64*>(page) == 0x99, "emulated_write_took_effect");
    check(try_write(entry, make_entry(page)) == 0, "written_back");
    flush_tlb();
    u64 expected = *entry, desired = expected & ~pte_writable;
    asm volatile("lock cmpxchg %2, %1" : "+a"(expected), "+m"(*entry) : "r"(desired) : "memory", "cc");
    flush_tlb();
    check(try_write(page, 1) == 15, "emulated_cmpxchg_write_protects");
    asm volatile("lock btsq $1, %0" : "+m"(*entry) : : "memory", "cc");
    flush_tlb();
    check(try_write(page, 1) == 0, "emulated_bts");
    u64 old = 0;
    asm volatile("xchg %0, %1" : "+r"(old), "+m"(*entry) : : "memory");
    flush_tlb();
    u64 value;
    check((old & pte_present) && try_read(page, value) == 15, "emulated_xchg_clears");
    expect(write_entry(entry, make_entry(page)), 0, "restored");
    u64 value_of_page = make_entry(page), count = 1; // memset and memcpy of one entry, by string instructions
    u64* place = entry;
    asm volatile("rep stosq" : "+c"(count), "+D"(place) : "a"(make_entry(other)) : "memory");
    flush_tlb();
    check(*static_cast<volatile u64*>(page) == 0x99 && count == 0 && place == entry + 1, "emulated_rep_stos");
    const u64* source = &value_of_page;
    count = 1, place = entry;
    asm volatile("rep movsq" : "+c"(count), "+D"(place), "+S"(source) : : "memory");
    flush_tlb();
    check(*static_cast<volatile u64*>(page) == 1 && source == &value_of_page + 1, "emulated_rep_movs");
    u64* l1 = new_table(); // a whole table in force, cleared as memset does
    l1[0] = l1[200] = l1[511] = make_entry(other, 0);
    protect_page(l1, false);
    expect(pin(1, mfn_of(l1)), 0, "pin_l1_to_be_cleared");
    count = 512, place = l1;
    asm volatile("rep stosq" : "+c"(count), "+D"(place) : "a"(0) : "memory");
    check(l1[0] == 0 && l1[200] == 0 && l1[511] == 0 && place == l1 + 512, "table_in_force_is_cleared");
    expect(unpin(mfn_of(l1)), 0, "unpin_cleared_l1");
    check(try_write(entry, make_entry(current_l4())) == 15, "dangerous_stray_write_faults");
    check(*entry == (make_entry(page) | (*entry & (pte_dirty | pte_accessed))) ||
              (*entry & pte_frame_mask) == (make_entry(page) & pte_frame_mask),
          "dangerous_stray_write_is_undone", "%lx", *entry);
}

// Many stores to one table in a row: the hypervisor lets the guest write it directly (unhook=), which must not show.
void many_stray_writes() {
    constexpr u32 most = 512;
    u64* l1 = new_table();
    u64* l2 = new_table();
    u64* l3 = new_table();
    auto* page = new_table();
    auto* list = reinterpret_cast<mmu_update_t*>(new_table());
    page[0] = 0x5a5a;
    l2[0] = make_entry(l1);
    l3[0] = make_entry(l2);
    for (u64* table : {l1, l2, l3})
        protect_page(table, false);
    expect(pin(1, mfn_of(l1)), 0, "pin_l1_to_be_filled");
    expect(write_entry(&current_l4()[2], make_entry(l3)), 0, "hook_l3_of_it");
    for (u32 i = 0; i < most; ++i)
        static_cast<volatile u64*>(l1)[i] = make_entry(page, i % 2 ? pte_writable : 0);
    check((l2[0] & (pte_present | pte_frame_mask)) == (make_entry(l1) & (pte_present | pte_frame_mask)),
          "its_hook_looks_as_before");
    check(read_at(free_address + 0x1ff000) == 0x5a5a, "filled_by_stores");
    check(try_write(reinterpret_cast<void*>(free_address + 0x1000), 0x5a5a) == 0, "odd_entries_are_writable");
    check(try_write(reinterpret_cast<void*>(free_address + 0x2000), 1) == 15, "even_entries_are_not");
    for (u32 i = 1; i < most; i += 2)
        asm volatile("lock btrq $1, %0" : "+m"(l1[i]) : : "memory", "cc");
    try_write(&l1[100], make_entry(current_l4(), pte_writable)); // refused at once, where stores are emulated
    try_write(&l1[101], make_entry(l1, pte_writable));
    flush_tlb();
    check(try_write(reinterpret_cast<void*>(free_address + 0x1000), 1) == 15, "all_are_protected");
    check((l1[100] & pte_frame_mask) != base_of(mfn_of(current_l4())).n, "writable_root_is_refused");
    check((l1[101] & pte_frame_mask) != base_of(mfn_of(l1)).n, "writable_self_map_by_store_is_refused");
    // a hypercall's argument in the range of a table that is out: the hypervisor itself may not go through it
    expect(write_entry(&l1[7], make_entry(list, pte_writable)), 0, "map_list");
    for (u32 i = 200; i < most; ++i)
        static_cast<volatile u64*>(l1)[i] = 0;
    list[0] = {machine_address_of(&l1[3]), 0};
    const long done = hypercall(__HYPERVISOR_mmu_update, free_address + 7 * 0x1000, 1, 0, DOMID_SELF);
    check(done == 0 && l1[3] == 0, "update_list_read_through_it", "%ld", done);
    expect(write_entry(&current_l4()[2], 0), 0, "unhook_l3_of_it");
    expect(unpin(mfn_of(l1)), 0, "unpin_l1_of_it");
}

void machphys_and_batches() {
    auto* page = new_table();
    const u64 pfn = pfn_of(page).n;
    expect(update_entry(base_of(mfn_of(page)).n, pfn, MMU_MACHPHYS_UPDATE), 0, "machphys_update");
    check(pfn_of(mfn_of(page)).n == pfn, "machphys_value");
    u64* l1 = new_table();
    protect_page(l1, false);
    pin(1, mfn_of(l1));
    mmu_update_t batch[64];
    for (unsigned i = 0; i < 64; ++i)
        batch[i] = {machine_address_of(&l1[i]) | MMU_NORMAL_PT_UPDATE, i == 40 ? make_entry(l1) : make_entry(page, 0)};
    unsigned done = 0;
    check(hypercall(__HYPERVISOR_mmu_update, batch, 64, &done, DOMID_SELF) < 0, "batch_with_a_bad_entry_fails");
    check(done == 40, "done_tells_how_far", "%u", done);
    check(l1[39] != 0 && l1[40] == 0 && l1[41] == 0, "batch_stopped_there");
    batch[40].val = 0;
    expect(hypercall(__HYPERVISOR_mmu_update, batch, 64, &done, DOMID_SELF), 0, "whole_batch");
    check(done == 64, "done_tells_all", "%u", done);
    u64 preserved = l1[5] | pte_dirty;
    update_entry(machine_address_of(&l1[5]), preserved);
    update_entry(machine_address_of(&l1[5]), make_entry(page, 0) & ~pte_accessed, MMU_PT_UPDATE_PRESERVE_AD);
    check((l1[5] & (pte_dirty | pte_accessed)) == (pte_dirty | pte_accessed), "preserve_ad_keeps_bits", "%lx", l1[5]);
    expect(unpin(mfn_of(l1)), 0, "unpin_full_l1");
}

// The type of a frame follows its use: a page that was a table may be anything again, a page in a descriptor table
// may not be written.
void types() {
    auto* gdt = new_table();
    gdt[1] = 0x00affb000000ffff; // 64-bit code, ring 3
    gdt[2] = 0x00aff3000000ffff;
    u64 frame = mfn_of(gdt).n;
    check(hypercall(__HYPERVISOR_set_gdt, &frame, 512) < 0, "writable_gdt_is_refused");
    protect_page(gdt, false);
    expect(hypercall(__HYPERVISOR_set_gdt, &frame, 512), 0, "set_gdt");
    check(protect_page(gdt, true) < 0, "gdt_stays_read_only");
    expect(hypercall(__HYPERVISOR_update_descriptor, machine_address_of(&gdt[3]), 0x00aff3000000ffff), 0,
           "update_descriptor");
    check(gdt[3] != 0, "descriptor_written");
    check(hypercall(__HYPERVISOR_update_descriptor, machine_address_of(&gdt[4]), 0x0000890000000000) < 0,
          "task_descriptor_is_refused");
    check(pin(1, Mfn(frame)) < 0, "gdt_as_page_table_is_refused");
    expect(hypercall(__HYPERVISOR_set_gdt, nullptr, 0), 0, "drop_gdt");
    expect(protect_page(gdt, true), 0, "gdt_is_free_again");
}

} // namespace

void guest_main() {
    build_and_use();
    refused_entries();
    reserved_slots();
    va_mapping();
    stray_writes();
    many_stray_writes();
    machphys_and_batches();
    types();
    finish();
}
