// The few facts of the ACPI tables that the hypervisor itself needs; dom0 reads the tables for everything else.
#pragma once

#include "hypervisor/base/types.hpp"

namespace domus::hv::arch {

struct AcpiFacts {
    u64 io_apic_address = 0xfec00000;
    u32 irq_to_gsi[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    u16 pm1a_control = 0, pm1b_control = 0; // I/O ports; 0: none
    u32 soft_off_a = ~0u, soft_off_b = 0;   // SLP_TYP values of S5; ~0: not found
    u32 cpu_count = 0;
    u64 rsdp = 0;
};
void read_acpi(u64 rsdp_hint); // hint 0: search the BIOS area
const AcpiFacts& acpi();

} // namespace domus::hv::arch
