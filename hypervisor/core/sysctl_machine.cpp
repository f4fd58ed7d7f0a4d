// sysctl: the machine's shape: CPUs, one node of memory, one pool of CPUs. Owner: no state.
#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/sysctl.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

constexpr u32 devices_per_call = 256;

// Feature words in the order tools know: 1.edx, 1.ecx, e1.edx, e1.ecx, d.1.eax, 7.ebx, 7.ecx, e7.edx.
void put_features(u32 (&caps)[8]) {
    const auto basic = arch::machine_cpuid(1, 0), extended = arch::machine_cpuid(0x80000001, 0);
    const auto structured = arch::machine_cpuid(7, 0);
    caps[0] = basic.edx;
    caps[1] = basic.ecx;
    caps[2] = extended.edx;
    caps[3] = extended.ecx;
    caps[4] = arch::machine_cpuid(0xd, 1).eax;
    caps[5] = structured.ebx;
    caps[6] = structured.ecx;
    caps[7] = arch::machine_cpuid(0x80000007, 0).edx;
}

// A bitmap of CPUs, in the tool's buffer of nr_bits bits; bits beyond the machine's CPUs are zero.
Result<void> put_cpus(const xenctl_bitmap& bitmap, u64 cpus) {
    if (guest_ptr(bitmap.bitmap).is_null())
        return {};
    const u32 bytes = std::min<u32>((bitmap.nr_bits + 7) / 8, arch::max_cpus / 8);
    return copy_out_bytes(guest_ptr(bitmap.bitmap).address, &cpus, bytes);
}

u32 count_domains() {
    u32 count = 0;
    for (DomainRef d = first_domain(); d; d = next_domain(*d))
        ++count;
    return count;
}

} // namespace

Result<void> sysctl_physinfo(Call&, xen_sysctl_t& op) {
    auto& info = op.u.physinfo;
    info = {};
    info.threads_per_core = 1;
    info.cores_per_socket = arch::cpu_count();
    info.nr_cpus = arch::cpu_count();
    info.max_cpu_id = arch::cpu_count() - 1;
    info.nr_nodes = 1;
    info.cpu_khz = arch::tsc_khz();
    info.capabilities = XEN_SYSCTL_PHYSCAP_pv | XEN_SYSCTL_PHYSCAP_gnttab_v1 | XEN_SYSCTL_PHYSCAP_gnttab_v2;
    info.total_pages = total_frame_count();
    info.free_pages = free_frame_count();
    info.outstanding_pages = claimed_frame_count();
    info.max_mfn = arch::frame_limit() - 1;
    put_features(info.hw_cap);
    return {};
}

// The words of physinfo's hw_cap, for every index (raw, host, PV): one filter serves all domains.
Result<void> sysctl_get_cpu_featureset(Call&, xen_sysctl_t& op) {
    auto& info = op.u.cpu_featureset;
    u32 words[8] = {};
    put_features(words);
    const auto list = guest_ptr(info.features);
    if (!list.is_null()) {
        for (u32 i = 0; i < std::min<u32>(info.nr_features, std::size(words)); ++i)
            TRY(copy_out(list, words[i], i));
    }
    info.nr_features = std::size(words);
    return {};
}

Result<void> sysctl_cputopoinfo(Call&, xen_sysctl_t& op) {
    auto& info = op.u.cputopoinfo;
    const auto list = guest_ptr(info.cputopo);
    if (!list.is_null()) {
        for (u32 i = 0; i < std::min(info.num_cpus, arch::cpu_count()); ++i)
            TRY(copy_out(list, {i, 0, 0}, i));
    }
    info.num_cpus = arch::cpu_count();
    return {};
}

Result<void> sysctl_numainfo(Call&, xen_sysctl_t& op) {
    auto& info = op.u.numainfo;
    constexpr u32 local_distance = 10;
    if (info.num_nodes > 0 && !guest_ptr(info.meminfo).is_null())
        TRY(copy_out(guest_ptr(info.meminfo), {total_frame_count() << page_shift, free_frame_count() << page_shift}));
    if (info.num_nodes > 0 && !guest_ptr(info.distance).is_null())
        TRY(copy_out(guest_ptr(info.distance), local_distance));
    info.num_nodes = 1;
    return {};
}

// No device is known here: dom0 finds them itself. The tool comes again for the devices that were not processed.
Result<void> sysctl_pcitopoinfo(Call&, xen_sysctl_t& op) {
    auto& info = op.u.pcitopoinfo;
    if (guest_ptr(info.devs).is_null() || guest_ptr(info.nodes).is_null())
        return Err::Inval;
    const u32 count = std::min(info.num_devs, devices_per_call);
    for (u32 i = 0; i < count; ++i)
        TRY(copy_out(guest_ptr(info.nodes), XEN_INVALID_DEV, i));
    info.num_devs = count;
    return {};
}

Result<void> sysctl_availheap(Call&, xen_sysctl_t& op) {
    auto& info = op.u.availheap;
    info.avail_bytes = info.node > 0 ? 0 : free_frame_count() << page_shift;
    return {};
}

Result<void> sysctl_getcpuinfo(Call&, xen_sysctl_t& op) {
    auto& info = op.u.getcpuinfo;
    const u32 count = std::min(info.max_cpus, arch::cpu_count());
    for (u32 i = 0; i < count; ++i)
        TRY(copy_out(guest_ptr(info.info), {idle_time(CpuId(i))}, i));
    info.nr_cpus = count;
    return {};
}

// One pool, number 0, with every CPU and every domain in it; it cannot be changed.
Result<void> sysctl_cpupool_op(Call&, xen_sysctl_t& op) {
    auto& info = op.u.cpupool_op;
    switch (info.op) {
    case XEN_SYSCTL_CPUPOOL_OP_INFO:
        if (info.cpupool_id != 0)
            return Err::NoEnt;
        info.sched_id = XEN_SCHEDULER_CREDIT2;
        info.n_dom = count_domains();
        return put_cpus(info.cpumap, online_cpus());
    case XEN_SYSCTL_CPUPOOL_OP_FREEINFO:
        return put_cpus(info.cpumap, 0);
    default:
        return Err::OpNotSupp;
    }
}

Result<void> sysctl_levelling_caps(Call&, xen_sysctl_t& op) {
    op.u.cpu_levelling_caps.caps = 0;
    return {};
}

} // namespace domus::hv
