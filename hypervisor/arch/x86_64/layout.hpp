// Where things are in the sixteen L4 slots (256..271) that every address space lends to the hypervisor.
// Included by C++ and, for the plain numbers, by assembly. See docs/hypervisor.md for the picture.
#pragma once

// The image is linked at image_base + its physical address.
#define DOMUS_IMAGE_BASE 0xffff808000000000
#define DOMUS_LOAD_ADDRESS 0x200000
#define GUEST_HIGH_START 0xffff880000000000 // behind the sixteen slots: guest kernels

// Selectors of the hypervisor's page of the GDT (page 14, index 7168 on), fixed by <xen/arch-x86/xen-x86_64.h>.
#define SELECTOR_HV_CODE 0xe008
#define SELECTOR_HV_DATA 0xe010
#define SELECTOR_USER_CODE32 0xe023
#define SELECTOR_USER_DATA 0xe02b
#define SELECTOR_USER_CODE64 0xe033
#define SELECTOR_TSS 0xe040
#define SELECTOR_LDT 0xe050

// One block per CPU, aligned to its size: four 4 KiB stacks for NMI, #DF, #MC, #DB, then the main stack with CpuInfo at
// its top, so that CpuInfo is found from any stack pointer of the block.
#define CPU_BLOCK_SIZE 0x8000
#define CPU_INFO_SIZE 512

#ifndef __ASSEMBLER__
#include "hypervisor/arch/iface/memory.hpp"

namespace domus::hv::arch {

constexpr u64 slot_address(u64 slot) {
    return 0xffff000000000000 | slot << 39;
}

inline constexpr u32 first_reserved_slot = 256;
inline constexpr u32 end_reserved_slot = 272;

inline constexpr u64 m2p_base = slot_address(256);   // machine-to-phys table, readable by guests
inline constexpr u64 image_base = slot_address(257); // the hypervisor's image, stubs
inline constexpr u64 frame_table_address = slot_address(258);
inline constexpr u64 window_base = slot_address(259);  // GDT and LDT windows, one per vcpu
inline constexpr u64 m2p_writable = slot_address(260); // the same table for the hypervisor
inline constexpr u64 device_base = slot_address(261);  // APICs, ACPI tables
inline constexpr u64 direct_map = slot_address(262);   // all RAM
inline constexpr u64 direct_map_end = slot_address(271) + (u64{1} << 39);

inline constexpr u64 reserved_start = slot_address(first_reserved_slot);
inline constexpr u64 reserved_end = direct_map_end;

static_assert(image_base == DOMUS_IMAGE_BASE);
static_assert(reserved_end == guest_high_start && guest_high_start == GUEST_HIGH_START);

// One vcpu's window: 16 pages GDT (14 the guest's, then the hypervisor's, then one unmapped), 16 pages LDT.
inline constexpr u64 window_pages = 32;
inline constexpr u64 gdt_guest_pages = 14;
inline constexpr u64 ldt_window_offset = 16 * page_size;

} // namespace domus::hv::arch
#endif
