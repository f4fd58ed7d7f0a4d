// Switching and swapping of grant entries; private to core/grant*.cpp. The caller holds Rank::Grants.
#pragma once

#include "hypervisor/core/grants_state.hpp"

#include <cstring>

namespace domus::hv {

// Err::Busy: grants are in use; Err::NoMem; Err::Inval: the domain is dying.
Result<void> switch_version(Domain&, Table&, u32 version);
i16 swap_entries(Table&, GrantRef a, GrantRef b); // GNTST_*

} // namespace domus::hv
