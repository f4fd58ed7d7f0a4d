// Start-up of one CPU's descriptor tables.
#pragma once

#include "hypervisor/arch/x86_64/percpu.hpp"

namespace domus::hv::arch {

// Which crossings take the short way (fast_entry.S, fast_fault.S); for the CPUs started after it. Hypercalls: by
// switch_short_hypercalls_on().
void choose_entries(bool fast_syscall, bool fast_iret, bool fast_fault);

// Makes and loads GDT, TSS, IDT, SYSCALL registers of CPU number `cpu` (the one that runs this). Returns its CpuInfo at
// the top of its stack block, which the caller has yet to move onto.
CpuInfo& start_cpu_descriptors(u32 cpu);

} // namespace domus::hv::arch
