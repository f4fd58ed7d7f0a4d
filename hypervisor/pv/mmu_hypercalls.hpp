// Hypercalls about page tables: rows of boot/hypercall_table.cpp. All May::Guest; source: <xen/xen.h>.
#pragma once

#include "hypervisor/core/hypercall.hpp"

namespace domus::hv {

Result<i64> mmu_update(Call&, GuestPtr<mmu_update_t> requests, u32 count, GuestPtr<u32> done_out, u32 foreign);
Result<i64> mmuext_op(Call&, GuestPtr<mmuext_op_t> operations, u32 count, GuestPtr<u32> done_out, u32 foreign);
Result<void> update_va_mapping(Call&, Vaddr address, u64 value, u64 flags);
Result<void> update_va_mapping_otherdomain(Call&, Vaddr address, u64 value, u64 flags, u16 domid);
Result<void> vm_assist(Call&, u32 command, u32 type);

} // namespace domus::hv
