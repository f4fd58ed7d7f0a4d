// Local APIC (timer, interrupt acknowledgement) and I/O APIC (the console's line).
#pragma once

#include "hypervisor/base/types.hpp"

namespace domus::hv::arch {

inline constexpr u32 vector_timer = 0xef, vector_kick = 0xee, vector_spurious = 0xff, vector_console = 0xed;

void apic_start();              // this CPU's local APIC; masks the old PIC
void apic_arm_timer(u32 ticks); // one-shot, divided by 1; 0 stops it
u32 apic_timer_count();
void route_legacy_irq(u32 irq, u32 vector); // through the I/O APIC to this CPU, edge triggered
void note_interrupt(u32 vector);            // in the interrupt handler: acknowledge, set CpuInfo::pending

} // namespace domus::hv::arch
