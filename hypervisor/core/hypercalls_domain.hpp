// Hypercalls about domains, vcpus, scheduling and time: rows of boot/hypercall_table.cpp.
#pragma once

#include "hypervisor/core/hypercall.hpp"

namespace domus::hv {

Result<i64> sched_op(Call&, u32 command, GuestPtr<void> argument);          // __HYPERVISOR_sched_op, May::Guest
Result<i64> sched_op_compat(Call&, u32 command, u64 argument);              // __HYPERVISOR_sched_op_compat, May::Guest
Result<i64> set_timer_op(Call&, u64 timeout);                               // __HYPERVISOR_set_timer_op, May::Guest
Result<i64> vcpu_op(Call&, u32 command, u32 vcpu, GuestPtr<void> argument); // __HYPERVISOR_vcpu_op, May::Guest
Result<i64> domctl(Call&, GuestPtr<xen_domctl_t> operation);                // __HYPERVISOR_domctl, May::Dom0
Result<i64> platform_op(Call&, GuestPtr<xen_platform_op_t> operation);      // __HYPERVISOR_platform_op, May::Dom0
Result<i64> mca(Call&, GuestPtr<xen_mc_t> operation);                       // __HYPERVISOR_mca, May::Dom0
Result<i64> physdev_op(Call&, u32 command, GuestPtr<void> argument);        // __HYPERVISOR_physdev_op, May::Guest

} // namespace domus::hv
