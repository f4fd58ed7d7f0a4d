// sysctl: dispatch, the console ring, counters, lists of domains. Owner: no state.
#include "hypervisor/core/sysctl.hpp"

#include "hypervisor/core/console_io.hpp"
#include "hypervisor/core/console_ring.hpp"
#include "hypervisor/core/domain_info.hpp"
#include "hypervisor/core/domain_list.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

Result<void> read_console(Call&, xen_sysctl_t& op) {
    auto& info = op.u.readconsole;
    u32 index = info.incremental ? info.index : console_ring_start();
    u32 copied = 0;
    while (copied < info.count) {
        char chunk[256];
        const u32 got = console_ring_read(index, {chunk, std::min<usize>(info.count - copied, sizeof chunk)});
        if (got == 0)
            break;
        TRY(copy_out_bytes(guest_ptr(info.buffer).address + copied, chunk, got));
        copied += got;
    }
    info.index = index;
    info.count = copied;
    if (info.clear)
        console_ring_clear();
    return {};
}

// The number tools know for "weights and caps": see docs/scheduling.md.
Result<void> sched_id(Call&, xen_sysctl_t& op) {
    op.u.sched_id.sched_id = XEN_SCHEDULER_CREDIT2;
    return {};
}

// Names are "kind: name"; a value is the low half of the 64-bit counter (the extension hypercall has it whole).
Result<void> query_counters(xen_sysctl_perfc_op& info) {
    const auto descriptions = guest_ptr(info.desc);
    const auto values = guest_ptr(info.val);
    const PerfCounters machine = machine_counters();
    u32 there = 0;
    for (u32 i = 0; i < perf_rows; ++i) {
        const PerfRow row = perf_row(machine, i);
        if (row.name.empty())
            continue;
        xen_sysctl_perfc_desc_t description{};
        description.nr_vals = 1;
        format_to({description.name, sizeof description.name - 1}, "{}: {}", row.kind, row.name);
        if (!descriptions.is_null())
            TRY(copy_out(descriptions, description, there));
        if (!values.is_null())
            TRY(copy_out(values, static_cast<u32>(row.value), there));
        ++there;
    }
    info.nr_counters = info.nr_vals = there;
    return {};
}

Result<void> perfc_op(Call&, xen_sysctl_t& op) {
    switch (op.u.perfc_op.cmd) {
    case XEN_SYSCTL_PERFCOP_reset:
        reset_all_counters();
        [[fallthrough]]; // the answer holds the counters too
    case XEN_SYSCTL_PERFCOP_query:
        return query_counters(op.u.perfc_op);
    default:
        return Err::Inval;
    }
}

Result<void> get_domain_list(Call&, xen_sysctl_t& op) {
    auto& info = op.u.getdomaininfolist;
    const auto list = guest_ptr(info.buffer);
    u32 count = 0;
    for (DomainRef d = first_domain_from(DomId(info.first_domain)); d && count < info.max_domains;
         d = next_domain(*d)) {
        xen_domctl_getdomaininfo_t entry{};
        fill_domain_info(*d, entry);
        TRY(copy_out(list, entry, count));
        ++count;
    }
    info.num_domains = count;
    return {};
}

Result<void> debug_keys(Call&, xen_sysctl_t& op) {
    constexpr u32 most_keys = 64;
    auto& info = op.u.debug_keys;
    if (info.nr_keys > most_keys)
        return Err::TooBig;
    for (u32 i = 0; i < info.nr_keys; ++i)
        debug_key(TRY(copy_in(guest_ptr(info.keys), i)));
    return {};
}

// Parameters of the one pool's scheduler: there is nothing to set.
Result<void> scheduler_op(Call&, xen_sysctl_t& op) {
    auto& info = op.u.scheduler_op;
    if (info.cpupool_id != 0 || info.sched_id != XEN_SCHEDULER_CREDIT2)
        return Err::Inval;
    if (info.cmd != XEN_SYSCTL_SCHEDOP_getinfo)
        return Err::OpNotSupp;
    info.u.sched_credit2.ratelimit_us = 0;
    return {};
}

// CPUID is answered from the machine, filtered in one way for every domain (pv/cpuid), so a policy says nothing: each
// of its leaves is an empty leaf 0. Tools ask for room first (null buffers), fill that many, and set the policy back.
Result<void> get_cpu_policy(Call&, xen_sysctl_t& op) {
    auto& policy = op.u.cpu_policy;
    constexpr u32 leaves_room = 64;
    const auto leaves = guest_ptr(policy.leaves);
    if (leaves.is_null())
        policy.nr_leaves = leaves_room;
    policy.nr_leaves = std::min(policy.nr_leaves, leaves_room);
    for (u32 i = 0; !leaves.is_null() && i < policy.nr_leaves; ++i)
        TRY(copy_out(leaves, {0, XEN_CPUID_NO_SUBLEAF, 0, 0, 0, 0}, i));
    policy.nr_msrs = guest_ptr(policy.msrs).is_null() ? 16 : 0;
    return {};
}

constexpr char no_power[] = "frequencies and idle states are left to the processor";
constexpr char no_cache_allocation[] = "no cache monitoring or allocation";

constexpr Operation<Result<void> (*)(Call&, xen_sysctl_t&)> sysctl_ops[] = {
    OFFERED(XEN_SYSCTL_readconsole, read_console, Dom0),
    REFUSED(XEN_SYSCTL_tbuf_op, OpNotSupp, Dom0, "no trace buffer for tools; core/trace is for panics"),
    OFFERED(XEN_SYSCTL_physinfo, sysctl_physinfo, Dom0),
    OFFERED(XEN_SYSCTL_sched_id, sched_id, Dom0),
    OFFERED(XEN_SYSCTL_perfc_op, perfc_op, Dom0),
    OFFERED(XEN_SYSCTL_getdomaininfolist, get_domain_list, Dom0),
    OFFERED(XEN_SYSCTL_debug_keys, debug_keys, Dom0),
    OFFERED(XEN_SYSCTL_getcpuinfo, sysctl_getcpuinfo, Dom0),
    OFFERED(XEN_SYSCTL_availheap, sysctl_availheap, Dom0),
    REFUSED(XEN_SYSCTL_get_pmstat, NoSys, Dom0, no_power),
    REFUSED(XEN_SYSCTL_cpu_hotplug, NoSys, Dom0, "no hot-plug"),
    REFUSED(XEN_SYSCTL_pm_op, NoSys, Dom0, no_power),
    REFUSED(XEN_SYSCTL_page_offline_op, NoSys, Dom0, "no frame is taken out of use"),
    REFUSED(XEN_SYSCTL_lockprof_op, NoSys, Dom0, "locks are not profiled"),
    OFFERED(XEN_SYSCTL_cputopoinfo, sysctl_cputopoinfo, Dom0),
    OFFERED(XEN_SYSCTL_numainfo, sysctl_numainfo, Dom0),
    OFFERED_WITH(XEN_SYSCTL_cpupool_op, sysctl_cpupool_op, Dom0, "one pool of all CPUs"),
    OFFERED_WITH(XEN_SYSCTL_scheduler_op, scheduler_op, Dom0, "nothing can be set for a whole pool"),
    REFUSED(XEN_SYSCTL_coverage_op, NoSys, Dom0, "the image is not instrumented"),
    REFUSED(XEN_SYSCTL_psr_cmt_op, NoSys, Dom0, no_cache_allocation),
    OFFERED(XEN_SYSCTL_pcitopoinfo, sysctl_pcitopoinfo, Dom0),
    REFUSED(XEN_SYSCTL_psr_alloc, NoSys, Dom0, no_cache_allocation),
    OFFERED(XEN_SYSCTL_get_cpu_levelling_caps, sysctl_levelling_caps, Dom0),
    OFFERED(XEN_SYSCTL_get_cpu_featureset, sysctl_get_cpu_featureset, Dom0),
    REFUSED(XEN_SYSCTL_livepatch_op, NoSys, Dom0, "no live patching"),
    OFFERED_WITH(XEN_SYSCTL_get_cpu_policy, get_cpu_policy, Dom0, "one filter for every domain, so empty leaves"),
};

} // namespace

Result<i64> sysctl(Call& call, GuestPtr<xen_sysctl_t> operation) {
    if (!call.domain.privileged)
        return Err::Perm;
    auto op = TRY(copy_in(operation));
    if (op.interface_version != XEN_SYSCTL_INTERFACE_VERSION) {
        why(call.domain, "sysctl interface version {x}, this is {x}", op.interface_version,
            u32{XEN_SYSCTL_INTERFACE_VERSION});
        return Err::Access;
    }
    const auto* row = find_operation(sysctl_ops, op.cmd);
    if (!row)
        return Err::NoSys;
    TRY(admit(*row, call.domain.privileged));
    TRY(row->run(call, op));
    TRY(copy_out(operation, op));
    return i64{0};
}

const OperationList system_operations(sysctl_ops);

} // namespace domus::hv
