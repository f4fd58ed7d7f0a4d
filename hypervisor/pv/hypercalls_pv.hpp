// The hypercalls that this part of pv/ serves (page tables have theirs in pv/mmu.hpp).
#pragma once

#include "hypervisor/core/hypercall.hpp"

namespace domus::hv {

Result<i64> hypercall_iret(Call&);
Result<i64> multicall(Call&, GuestPtr<multicall_entry_t> list, u32 count);
Result<void> set_trap_table(Call&, GuestPtr<trap_info_t> table);
Result<void> set_callbacks(Call&, u64 event, u64 failsafe, u64 syscall);
Result<i64> callback_op(Call&, i32 command, GuestPtr<void> argument);
Result<i64> nmi_op(Call&, u32 command, GuestPtr<void> argument);
Result<void> stack_switch(Call&, u64 ss, u64 sp);
Result<void> fpu_taskswitch(Call&, i32 set);
Result<void> set_debugreg(Call&, i32 number, u64 value);
Result<i64> get_debugreg(Call&, i32 number);
Result<void> set_gdt(Call&, GuestPtr<xen_ulong_t> frames, u32 entries);
Result<void> update_descriptor(Call&, u64 machine_address, u64 descriptor);
Result<void> set_segment_base(Call&, u32 which, u64 base);

} // namespace domus::hv
