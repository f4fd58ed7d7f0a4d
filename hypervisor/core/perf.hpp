// Counters per hypercall and per trap, per domain, from the first day. The machine's are the sum of all domains', so
// that the hot paths count once. `domus perf` shows both. Plain increments by the CPU that runs the domain; readers
// tolerate a torn sum.
#pragma once

#include "hypervisor/base/types.hpp"

#include <array>
#include <string_view>

namespace domus::hv {

enum class Count : u8 {
    GuestPageFaults, // bounced to the guest
    FixedPageFaults, // handled by the hypervisor (stray writes, lazy windows)
    GeneralFaults,   // #GP from the guest, emulated or bounced
    Emulated,
    OtherTraps,
    SystemCalls,
    EventUpcalls,
    ContextSwitches,
    RootLoads,
    TlbFlushes,
    PteUpdates,
    PteEmulated,
    TablesValidated,
    TablesUnhooked, // and written directly by the guest
    Refused,        // operations refused with a why-message
    Last,
};

struct PerfCounters {
    std::array<u64, 64> hypercalls{}; // by number
    std::array<u64, 32> traps{};      // by vector
    std::array<u64, static_cast<usize>(Count::Last)> counts{};
};

struct Domain;

// The sum over all domains, those that have ended included.
PerfCounters machine_counters();
// A domain ends: its counters stay in the machine's.
void keep_counters(const Domain&);
// Everything begins at 0 again, for the machine and for every domain.
void reset_all_counters();

// One more of something. The entry paths increment the arrays directly.
void count(Domain&, Count, u64 by = 1);

// The names of the rows above, for sysctl and the extension hypercall. Empty: that number is not in use.
std::string_view count_name(u32 index);
std::string_view trap_name(u32 vector);

// All counters as one list, in a fixed order: counts, then traps, then hypercalls (core/perf.cpp).
struct PerfRow {
    std::string_view kind; // "count", "trap" or "hypercall"
    std::string_view name;
    u64 value;
};
inline constexpr u32 perf_rows = 64 + 32 + static_cast<u32>(Count::Last);
PerfRow perf_row(const PerfCounters&, u32 index); // an empty name: not in use
void reset_counters(PerfCounters&);

} // namespace domus::hv
