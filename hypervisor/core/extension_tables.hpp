// What Domus' own hypercall asks of the page-table code. Implemented by pv/range_ops.cpp and pv/table_lists.cpp; rows
// of core/extension.cpp. Arguments beyond the first are read from Call::args: docs/abi-extensions.md names the
// registers.
#pragma once

#include "hypervisor/core/hypercall.hpp"

namespace domus::hv {

// `first`: machine address of an L1 entry; args[2]: how many from there on, within one table.
// Err::Inval: not an L1 table of the caller's, a range beyond it, bits that are not to be changed this way.
Result<i64> protect_entries(Call&, GuestPtr<void> first); // args[3]: bits to clear, args[4]: bits to set
Result<i64> map_entries(Call&, GuestPtr<void> first);     // args[3]: address of as many new contents

// `list`: args[2] addresses of pages of the caller's own, each with the level to pin as (0: not at all) in its low
// bits; args[3]: 0 (where to go on, when the hypervisor resumes it).
Result<i64> pin_tables(Call&, GuestPtr<void> list);
Result<i64> unpin_tables(Call&, GuestPtr<void> list);

} // namespace domus::hv
