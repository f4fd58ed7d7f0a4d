// Counters and their names. Owner: each Domain, and this file for domains that have ended. Lock: none, see perf.hpp.
#include "hypervisor/core/perf.hpp"

#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/hypercall.hpp"

namespace domus::hv {

namespace {

constinit PerfCounters ended; // the sum over domains that have ended

constexpr std::string_view count_names[] = {
    "guest page faults", "fixed page faults", "general faults",   "emulated",        "other traps",
    "system calls",      "event upcalls",     "context switches", "root loads",      "TLB flushes",
    "PTE updates",       "PTE emulated",      "tables validated", "tables unhooked", "refused",
};
static_assert(std::size(count_names) == static_cast<usize>(Count::Last));

constexpr std::string_view trap_names[32] = {
    "divide error",
    "debug",
    "NMI",
    "breakpoint",
    "overflow",
    "bound",
    "invalid opcode",
    "no FPU",
    "double fault",
    "",
    "invalid TSS",
    "no segment",
    "stack fault",
    "general protection",
    "page fault",
    "",
    "FPU error",
    "alignment",
    "machine check",
    "SIMD error",
    "virtualization",
    "control protection",
};

constexpr u32 count_total = static_cast<u32>(Count::Last);
constexpr u32 trap_total = 32;
constexpr u32 hypercall_total = 64;
static_assert(perf_rows == count_total + trap_total + hypercall_total);

template <usize N>
void add(std::array<u64, N>& sum, const std::array<u64, N>& more) {
    for (usize i = 0; i < N; ++i)
        sum[i] += more[i];
}

void add(PerfCounters& sum, const PerfCounters& more) {
    add(sum.hypercalls, more.hypercalls);
    add(sum.traps, more.traps);
    add(sum.counts, more.counts);
}

} // namespace

void count(Domain& domain, Count what, u64 by) {
    domain.perf.counts[static_cast<usize>(what)] += by;
}

PerfCounters machine_counters() {
    PerfCounters sum = ended;
    for (DomainRef d = first_domain(); d; d = next_domain(*d))
        add(sum, d->perf);
    return sum;
}

void keep_counters(const Domain& domain) {
    add(ended, domain.perf);
}

void reset_all_counters() {
    reset_counters(ended);
    for (DomainRef d = first_domain(); d; d = next_domain(*d))
        reset_counters(d->perf);
}

std::string_view count_name(u32 index) {
    return index < count_total ? count_names[index] : std::string_view();
}

std::string_view trap_name(u32 vector) {
    return vector < trap_total ? trap_names[vector] : std::string_view();
}

PerfRow perf_row(const PerfCounters& counters, u32 index) {
    if (index < count_total)
        return {"count", count_names[index], counters.counts[index]};
    index -= count_total;
    if (index < trap_total)
        return {"trap", trap_names[index], counters.traps[index]};
    index -= trap_total;
    if (index >= hypercall_total)
        return {};
    return {"hypercall", hypercall_name(index), counters.hypercalls[index]};
}

void reset_counters(PerfCounters& counters) {
    counters = PerfCounters{};
}

} // namespace domus::hv
