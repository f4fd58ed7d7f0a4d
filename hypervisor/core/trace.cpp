// The trace rings. Owner: each CPU its own. Lock: none.
#include "hypervisor/core/trace.hpp"

#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/core/console_ring.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/format.hpp"

namespace domus::hv {
namespace {

struct alignas(64) Ring {
    u32 next = 0;
    std::array<TraceRecord, trace_records_per_cpu> records{};
};
constinit std::array<Ring, arch::max_cpus> rings;

constexpr std::string_view event_names[] = {"none",      "hypercall",   "trap",        "switch",      "event",
                                            "grant map", "grant unmap", "domain life", "type change", "note"};
static_assert(std::size(event_names) == static_cast<usize>(TraceEvent::Last));

} // namespace

void trace(TraceEvent event, u64 a, u64 b, u64 c) {
    Ring& ring = rings[arch::this_cpu().n % arch::max_cpus];
    const Vcpu& v = current();
    ring.records[ring.next++ % trace_records_per_cpu] = {
        arch::now().n, v.domain.id.n, static_cast<u16>(v.id.n), event, {a, b, c}};
}

TraceRecord trace_back(u32 n) {
    const Ring& ring = rings[arch::this_cpu().n % arch::max_cpus];
    if (n >= trace_records_per_cpu || n >= ring.next)
        return {};
    return ring.records[(ring.next - 1 - n) % trace_records_per_cpu];
}

void print_trace_in_panic(u32 count) {
    console_print_in_panic("Last trace records (ns, domain v vcpu, event, arguments):\n");
    for (u32 n = count; n-- > 0;) {
        const TraceRecord r = trace_back(n);
        if (r.event == TraceEvent::None || r.event >= TraceEvent::Last)
            continue;
        char line[160];
        console_print_in_panic(format_to(line, "  {} d{}v{} {} {x} {x} {x}\n", r.time, r.domain, r.vcpu,
                                         event_names[static_cast<usize>(r.event)], r.args[0], r.args[1], r.args[2]));
    }
}

} // namespace domus::hv
