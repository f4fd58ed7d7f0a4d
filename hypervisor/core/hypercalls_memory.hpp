// memory_op: a row of boot/hypercall_table.cpp, May::Guest (sub-operations ask for more). Source: <xen/memory.h>.
#pragma once

#include "hypervisor/core/hypercall.hpp"

namespace domus::hv {

// `command`: XENMEM_* in bits 0..5; above, the number of extents done by earlier runs of the same call.
Result<i64> memory_op(Call&, u64 command, GuestPtr<void> argument);

} // namespace domus::hv
