// A domain as control tools see it: domctl getdomaininfo and sysctl getdomaininfolist. Source: <xen/domctl.h>.
// No lock: a snapshot of counters that may be a moment apart.
#pragma once

#include "hypervisor/core/domain.hpp"

namespace domus::hv {

void fill_domain_info(Domain&, xen_domctl_getdomaininfo& out); // every byte of `out` is written

} // namespace domus::hv
