// Page faults that are the hypervisor's to handle, not the guest's: stray writes to page tables in force.
#pragma once

#include "hypervisor/core/vcpu.hpp"

namespace domus::hv {

// A page fault of the current vcpu at `address`. True: dealt with, run the guest on (with `regs` as changed); false:
// the guest's own affair, to be bounced. Called by the trap path with no lock held.
bool fix_page_fault(Vcpu&, GuestRegs& regs, u64 address, u32 error_code);

} // namespace domus::hv
