// Further vcpus of a mini guest.
#pragma once

#include "frontend-drivers/guestkit/hypercall.hpp"

namespace domus::guest {

inline constexpr unsigned max_vcpus = 8;

// Initialises vcpu `id` (1 to 7) to run `function(argument)` on a stack of its own, with the boot page tables, traps
// and callbacks of vcpu 0 and events masked. Does not bring it up. Result of VCPUOP_initialise.
long initialise_vcpu(u32 id, void (*function)(u64), u64 argument);
long bring_up(u32 id);
long bring_down(u32 id);
bool is_up(u32 id);

} // namespace domus::guest
