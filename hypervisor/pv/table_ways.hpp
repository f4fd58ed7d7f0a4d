// Short ways of page-table code that can be left out, so that a doubt can be tested: what they do, the long way does
// too. Set at start-up (fast-tables=BITS), read by every CPU; no lock.
#pragma once

#include "hypervisor/base/types.hpp"

namespace domus::hv {

enum TableWay : u32 {
    single_updates = 1, // mmu_update of one entry of the caller's own: no domain is looked up (pv/mmu_update.cpp)
    plain_runs = 2,     // requests about one page that is no table are written as a run (pv/mmu_update.cpp)
    giving_writing = 4, // protect gives writing without taking all references anew (pv/range_ops.cpp)
    filling_empty = 8,  // map fills empty entries without write_l1 (pv/range_ops.cpp)
};

inline constinit u32 table_ways = ~u32{0};

inline bool goes(TableWay way) {
    return (table_ways & way) != 0;
}

} // namespace domus::hv
