// __HYPERVISOR_mca: dom0's word about machine checks. Source: <xen/arch-x86/xen-mca.h>. A machine check of the hardware
// is a panic of the hypervisor (arch/x86_64), so there is never one to fetch; dom0's log of them is told which CPUs
// there are and stays empty. Privileged callers only (the hypercall table says so). Lock: none, no state.
#include "hypervisor/arch/iface/cpu.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/hypercalls_domain.hpp"
#include "hypervisor/core/operation_lists.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

Result<void> op_fetch(xen_mc_t& op) {
    op.u.mc_fetch.flags = XEN_MC_NODATA;
    return {};
}

// Without a list: how many there are. CPUs are numbered 0 .. cpu_count()-1; APIC numbers are taken to be the same.
// Processor models are not told: CPUID is there for that.
Result<void> op_physcpuinfo(xen_mc_t& op) {
    auto& info = op.u.mc_physcpuinfo;
    const auto list = guest_ptr(info.info);
    const u32 room = info.ncpus;
    info.ncpus = arch::cpu_count();
    for (u32 i = 0; !list.is_null() && i < std::min(room, info.ncpus); ++i) {
        xen_mc_logical_cpu_t cpu{};
        cpu.mc_cpunr = cpu.mc_apicid = i;
        cpu.mc_ncores = cpu.mc_ncores_active = cpu.mc_nthreads = 1;
        TRY(copy_out(list, cpu, i));
    }
    return {};
}

constexpr char not_injected[] = "errors are not made up";

constexpr Operation<Result<void> (*)(xen_mc_t&)> mca_ops[] = {
    OFFERED_WITH(XEN_MC_fetch, op_fetch, Dom0, "nothing ever: a machine check stops the hypervisor"),
    REFUSED(XEN_MC_notifydomain, NoSys, Dom0, "Xen itself took it away"),
    OFFERED_WITH(XEN_MC_physcpuinfo, op_physcpuinfo, Dom0, "numbers only"),
    REFUSED(XEN_MC_msrinject, NoSys, Dom0, not_injected),
    REFUSED(XEN_MC_mceinject, NoSys, Dom0, not_injected),
    REFUSED(XEN_MC_inject_v2, NoSys, Dom0, not_injected),
};

} // namespace

// Err::Perm: not dom0; Err::Access: another version of the interface; Err::NoSys: not offered.
Result<i64> mca(Call& call, GuestPtr<xen_mc_t> operation) {
    if (!call.domain.privileged)
        return Err::Perm;
    xen_mc_t op = TRY(copy_in(operation));
    if (op.interface_version != XEN_MCA_INTERFACE_VERSION)
        return Err::Access;
    const auto* row = find_operation(mca_ops, op.cmd);
    if (!row)
        return Err::NoSys;
    TRY(admit(*row, call.domain.privileged));
    TRY(row->run(op));
    TRY(copy_out(operation, op));
    return i64{0};
}

const OperationList mca_operations(mca_ops);

} // namespace domus::hv
