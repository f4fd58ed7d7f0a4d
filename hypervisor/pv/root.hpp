// The page-table roots of a vcpu. vcpu.pv.kernel_root and user_root hold machine addresses of L4 tables; each stands
// for a general and a type reference. Owner: the vcpu; called by its own hypercalls, or while it does not run.
#pragma once

#include "hypervisor/base/result.hpp"

namespace domus::hv {

struct Vcpu;

// Make an L4 the root for kernel mode (the page tables are validated if they are not yet) and load it if the vcpu is
// the current one and in kernel mode. The old root's references go after the switch; what takes long stays in
// vcpu.pv.unfinished_table. Err::Inval: not fit as L4; Err::Restart: call again.
Result<void> set_kernel_root(Vcpu&, Mfn);
// The same for user mode; Mfn{0}: none.
Result<void> set_user_root(Vcpu&, Mfn);

// Give up both roots and what the vcpu left unfinished (its domain dies; it does not run, and no CPU has its roots
// loaded). Err::Restart: call again.
Result<void> drop_roots(Vcpu&);

// MMUEXT_SET_LDT; implemented with the other descriptor tables.
Result<void> pv_set_ldt(Vcpu&, u64 base, u32 entries);

} // namespace domus::hv
