// The inside of the domain list, for creation and control operations. Lock: Rank::DomainList, inside.
#pragma once

#include "hypervisor/core/domain.hpp"

namespace domus::hv {

// The number asked for (Err::Exist: taken), or the next free one if `wanted` is none (Err::NoSpace).
Result<DomId> choose_domain_id(u16 wanted);
// Enter a finished domain. From now on others find it. Err::Exist.
Result<void> enlist(Domain&);
// The first domain whose number is `id` or higher.
DomainRef first_domain_from(DomId id);

} // namespace domus::hv
