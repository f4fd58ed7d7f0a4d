// Machine memory as the hypervisor sees it, and guest memory as the current vcpu sees it.
// Implemented by arch/x86_64 (direct map, fault fix-ups) and by tests/fake.
#pragma once

#include "hypervisor/abi/xen.hpp"
#include "hypervisor/arch/iface/cpu.hpp"
#include "hypervisor/base/types.hpp"

namespace domus::hv::arch {

// The direct map: the hypervisor's own view of RAM. Valid for every frame below frame_limit() that is RAM.
u8* frame_pointer(Mfn);
template <class T>
T* frame_as(Mfn frame) {
    return reinterpret_cast<T*>(frame_pointer(frame));
}
Mfn frame_of_pointer(const void* direct_map_pointer);
void* frame_table_base(); // FrameInfo[frame_limit()]; entries of holes are mapped too, zero
u64 frame_limit();        // frames at or above this number are not RAM

// One entry of a live page table. Plain 8-byte stores and compare-and-swap; the fake machine records each.
u64 read_entry(Mfn table, u32 index);
void write_entry(Mfn table, u32 index, u64 value);
bool exchange_entry(Mfn table, u32 index, u64& expected, u64 value); // false: `expected` now holds what was there

// Copies between the hypervisor and the current vcpu's address space, as its kernel (never above guest-reachable
// addresses: the callers check the range with is_guest_range). Return the number of bytes NOT copied (0: done).
usize copy_from_guest(void* to, Vaddr from, usize bytes);
usize copy_to_guest(Vaddr to, const void* from, usize bytes);
usize clear_guest(Vaddr to, usize bytes);

// May the guest name this range at all? Whole and canonical, in the lower half or above the hypervisor's slots; a range
// that wraps around is none. Lower and upper end of one range cannot lie on both sides: it would contain what is
// between.
inline constexpr u64 guest_low_end = u64{1} << 47;
inline constexpr u64 guest_high_start = __HYPERVISOR_VIRT_END;
constexpr bool is_guest_range(Vaddr start, usize bytes) {
    const u64 last = start.n + (bytes ? bytes - 1 : 0);
    return last >= start.n && (last < guest_low_end || start.n >= guest_high_start);
}

// Translation buffers. `cpus`: who may hold stale entries (usually Domain::dirty_cpus).
void flush_page(arch::CpuMask cpus, Vaddr);
void flush_all(arch::CpuMask cpus); // all guest entries (global ones too)

void load_root(Mfn root);           // CR3 of this CPU
void copy_hypervisor_slots(Mfn l4); // fill L4 slots 256..271 with the hypervisor's own

void write_back_caches(); // WBINVD on this CPU
void zero_frame(Mfn);
void copy_frame(Mfn to, Mfn from);
void write_m2p(Mfn, u64 pfn); // the guests' read-only machine-to-phys table
u64 read_m2p(Mfn);

} // namespace domus::hv::arch
