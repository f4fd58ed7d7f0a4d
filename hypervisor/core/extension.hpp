// Domus' own hypercall, __HYPERVISOR_arch_7: what Xen's interface has no place for. Interface: hypervisor/abi/domus.h,
// docs/abi-extensions.md. Called by the hypercall table.
#pragma once

#include "hypervisor/core/hypercall.hpp"

namespace domus::hv {

// DOMUS_FEATURE_* that are offered: what CPUID answers and what the sub-operations go by. Start-up:
// set_extension_features.
extern u32 extension_features;
void set_extension_features(u32 wanted); // option `extension=`; what does not exist is left out

// Err::NoSys: unknown sub-operation; others per sub-operation.
Result<i64> extension(Call&, u32 command, GuestPtr<void> argument);

} // namespace domus::hv
