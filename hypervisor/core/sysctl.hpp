// __HYPERVISOR_sysctl: the machine as control tools see it. Source: <xen/sysctl.h>, interface version 0x15.
// dom0 only. Called by the hypercall table.
#pragma once

#include "hypervisor/core/hypercall.hpp"

namespace domus::hv {

// Err::Access: another interface version; Err::Perm; Err::NoSys: not offered (docs/hypercalls.md says why).
Result<i64> sysctl(Call&, GuestPtr<xen_sysctl_t> operation);

// Sub-operations about the machine's shape, in core/sysctl_machine.cpp.
Result<void> sysctl_physinfo(Call&, xen_sysctl_t&);
Result<void> sysctl_cputopoinfo(Call&, xen_sysctl_t&);
Result<void> sysctl_numainfo(Call&, xen_sysctl_t&);
Result<void> sysctl_pcitopoinfo(Call&, xen_sysctl_t&);
Result<void> sysctl_availheap(Call&, xen_sysctl_t&);
Result<void> sysctl_getcpuinfo(Call&, xen_sysctl_t&);
Result<void> sysctl_cpupool_op(Call&, xen_sysctl_t&);
Result<void> sysctl_levelling_caps(Call&, xen_sysctl_t&);
Result<void> sysctl_get_cpu_featureset(Call&, xen_sysctl_t&);

} // namespace domus::hv
