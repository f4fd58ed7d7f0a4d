// Time. Implemented by arch/x86_64 (TSC calibrated against the PIT, APIC timer) and by tests/fake.
#pragma once

#include "hypervisor/base/types.hpp"

namespace domus::hv::arch {

Nanoseconds now();                // system time: monotonic, ns since the hypervisor started
void set_deadline(Nanoseconds);   // one-shot interrupt of this CPU at (or soon after) that time; ~0: none
u64 wall_clock_seconds_at_boot(); // seconds since 1970 at system time 0, from the CMOS clock

// What a guest needs to turn a TSC value into system time (struct vcpu_time_info; the manual is <xen/xen.h>).
struct TscScale {
    u64 tsc_timestamp; // TSC at `system_time`
    u64 system_time;   // ns
    u32 tsc_to_system_mul;
    i32 tsc_shift;
};
TscScale tsc_scale();
u32 tsc_khz();

} // namespace domus::hv::arch
