// The hypervisor's own address space. Owner: boot; read-only afterwards but for windows and devices (boot CPU, or
// Rank::Control held). See layout.hpp for the slots.
#include "hypervisor/arch/x86_64/paging.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/arch/x86_64/cpu.hpp"
#include "hypervisor/arch/x86_64/percpu.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/log.hpp"

extern "C" domus::u8 image_start[], text_start[], text_end[], rodata_end[], image_end[];

namespace domus::hv::arch {
namespace {

constinit u64* root = nullptr;
constinit u64 root_address = 0;
constinit u64 limit = 0; // frames
constinit bool allocator_ready = false;
constinit u64 next_device = device_base;

constexpr u64 gib = u64{1} << 30, mib2 = u64{1} << 21;
constexpr u64 table_entry = pte::present | pte::writable | pte::user | pte::accessed | pte::dirty;
constexpr u64 own_data = pte::present | pte::writable | pte::accessed | pte::dirty | pte::global | pte::no_execute;

u64* at(u64 address) {
    return reinterpret_cast<u64*>(direct_map + address);
}

u64 new_table() {
    if (!allocator_ready)
        return boot_allocate(page_size);
    auto frame = allocate_frames(0);
    if (!frame)
        panic("no memory for the hypervisor's page tables");
    return base_of(frame.value()).n;
}

// The entry that maps `address` at `level` (1: 4 KiB, 2: 2 MiB, 3: 1 GiB), with tables made on the way.
u64* entry_for(u64 address, u32 level) {
    u64* table = root;
    for (u32 l = 4; l > level; --l) {
        u64& entry = table[(address >> (12 + 9 * (l - 1))) & 511];
        if (!(entry & pte::present))
            entry = new_table() | table_entry;
        table = at(entry & pte::address_mask);
    }
    return &table[(address >> (12 + 9 * (level - 1))) & 511];
}

void map_large(u64 address, u64 machine, u64 flags) {
    *entry_for(address, 2) = machine | flags | pte::large;
}

void map_direct(std::span<const RamRange> ram) {
    const bool has_gib_pages = cpuid(0x80000001).edx & (1u << 26);
    for (const auto& range : ram) {
        u64 a = range.start & ~(mib2 - 1);
        while (a < range.end) {
            if (has_gib_pages && a % gib == 0 && a + gib <= range.end) {
                *entry_for(direct_map + a, 3) = a | own_data | pte::large;
                a += gib;
                continue;
            }
            map_large(direct_map + a, a, own_data);
            a += mib2;
        }
    }
}

// Tables indexed by frame number: fresh memory under `address` for `bytes`.
void map_fresh(u64 address, u64 bytes, u64 flags, u64 second_address, u64 second_flags, u8 fill) {
    for (u64 done = 0; done < bytes; done += mib2) {
        const u64 machine = boot_allocate(mib2, mib2);
        __builtin_memset(at(machine), fill, mib2);
        map_large(address + done, machine, flags);
        if (second_address)
            map_large(second_address + done, machine, second_flags);
    }
}

void map_image() {
    const u64 start = reinterpret_cast<u64>(image_start), end = reinterpret_cast<u64>(image_end);
    for (u64 a = start; a < end; a += page_size) {
        u64 flags = own_data;
        if (a >= reinterpret_cast<u64>(text_start) && a < reinterpret_cast<u64>(text_end))
            flags = pte::present | pte::accessed | pte::global;
        else if (a < reinterpret_cast<u64>(rodata_end))
            flags = pte::present | pte::accessed | pte::global | pte::no_execute;
        *entry_for(a, 1) = (a - image_base) | flags;
    }
}

} // namespace

void build_address_space(std::span<const RamRange> ram) {
    for (const auto& range : ram)
        limit = range.end / page_size > limit ? range.end / page_size : limit;
    root_address = boot_allocate(page_size);
    root = at(root_address);
    for (u32 slot = first_reserved_slot; slot < end_reserved_slot; ++slot)
        root[slot] = boot_allocate(page_size) | table_entry;
    map_direct(ram);
    map_fresh(frame_table_address, limit * sizeof(FrameInfo), own_data, 0, 0, 0);
    constexpr u64 guest_readable = pte::present | pte::user | pte::accessed | pte::global | pte::no_execute;
    map_fresh(m2p_base, limit * 8, guest_readable, m2p_writable, own_data, 0xff);
    map_image();
    write_cr3(root_address);
    write_cr4(read_cr4() | cr4::pge);
}

void* map_device(u64 machine_address, u64 bytes) {
    const u64 first = machine_address & ~page_mask;
    const u64 count = pages_for(machine_address + bytes - first);
    const u64 address = next_device;
    for (u64 i = 0; i < count; ++i)
        set_hypervisor_page(address + i * page_size,
                            (first + i * page_size) | own_data | pte::uncached | pte::write_through);
    next_device += count * page_size;
    return reinterpret_cast<void*>(address + (machine_address & page_mask));
}

void set_hypervisor_page(u64 address, u64 entry) {
    *entry_for(address, 1) = entry;
    invalidate_page(address);
}

Mfn hypervisor_root() {
    return frame_of(Maddr(root_address));
}

// --- arch/iface/memory.hpp ---

u8* frame_pointer(Mfn m) {
    return reinterpret_cast<u8*>(direct_map + (m.n << page_shift));
}
Mfn frame_of_pointer(const void* p) {
    return Mfn((reinterpret_cast<u64>(p) - direct_map) >> page_shift);
}
u64 frame_limit() {
    return limit;
}
void* frame_table_base() {
    return reinterpret_cast<void*>(frame_table_address);
}

u64 read_entry(Mfn table, u32 index) {
    return __atomic_load_n(&frame_as<u64>(table)[index], __ATOMIC_RELAXED);
}
void write_entry(Mfn table, u32 index, u64 value) {
    __atomic_store_n(&frame_as<u64>(table)[index], value, __ATOMIC_RELAXED);
}
bool exchange_entry(Mfn table, u32 index, u64& expected, u64 value) {
    return __atomic_compare_exchange_n(&frame_as<u64>(table)[index], &expected, value, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

void zero_frame(Mfn m) {
    __builtin_memset(frame_pointer(m), 0, page_size);
}
void copy_frame(Mfn to, Mfn from) {
    __builtin_memcpy(frame_pointer(to), frame_pointer(from), page_size);
}
void write_m2p(Mfn m, u64 pfn) {
    if (m.n < limit)
        reinterpret_cast<u64*>(m2p_writable)[m.n] = pfn;
}
u64 read_m2p(Mfn m) {
    return m.n < limit ? reinterpret_cast<u64*>(m2p_writable)[m.n] : ~u64{0};
}

void copy_hypervisor_slots(Mfn l4) {
    for (u32 slot = first_reserved_slot; slot < end_reserved_slot; ++slot)
        frame_as<u64>(l4)[slot] = root[slot];
}

void load_root(Mfn m) {
    cpu_info().root = base_of(m).n;
    write_cr3(base_of(m).n);
}

// One CPU so far: every mask is this CPU. (Others will be asked by interrupt and served in relax().)
void flush_page(CpuMask, Vaddr address) {
    if (is_canonical(address))
        invalidate_page(address.n);
}
void write_back_caches() {
    write_back_and_invalidate_caches();
}
void flush_all(CpuMask) {
    write_cr3(read_cr3());
}

extern "C" usize copy_bytes_guarded(void* to, const void* from, usize bytes);
extern "C" usize clear_bytes_guarded(void* to, usize bytes);

usize copy_from_guest(void* to, Vaddr from, usize bytes) {
    return copy_bytes_guarded(to, reinterpret_cast<const void*>(from.n), bytes);
}
usize copy_to_guest(Vaddr to, const void* from, usize bytes) {
    return copy_bytes_guarded(reinterpret_cast<void*>(to.n), from, bytes);
}
usize clear_guest(Vaddr to, usize bytes) {
    return clear_bytes_guarded(reinterpret_cast<void*>(to.n), bytes);
}

void paging_use_allocator() {
    allocator_ready = true;
}

} // namespace domus::hv::arch
