// Time of a mini guest: the stable clock of vcpu_time_info (<xen/xen.h>) and the two timers of a vcpu (<xen/vcpu.h>).
// All in nanoseconds since the hypervisor's start.
#pragma once

#include "frontend-drivers/guestkit/hypercall.hpp"

namespace domus::guest {

u64 system_time(); // of this vcpu, by the time stamp counter
long set_single_timer(u64 absolute, u32 flags = 0);
long stop_single_timer();
long set_periodic_timer(u64 period);
long stop_periodic_timer();

} // namespace domus::guest
