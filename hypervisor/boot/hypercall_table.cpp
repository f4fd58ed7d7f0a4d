// The hypercall table: number, name, handler, who may call. docs/hypercalls.md is generated from these rows.
// Owner: no state. What is absent or not offered answers -ENOSYS.
#include "hypervisor/core/console_io.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/extension.hpp"
#include "hypervisor/core/hypercalls_domain.hpp"
#include "hypervisor/core/hypercalls_memory.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"
#include "hypervisor/core/sysctl.hpp"
#include "hypervisor/core/version.hpp"
#include "hypervisor/pv/hypercalls_pv.hpp"
#include "hypervisor/pv/mmu_hypercalls.hpp"
#include "hypervisor/pv/unhooked.hpp"

namespace domus::hv {
namespace {

constexpr char obsolete[] = "obsolete";
constexpr char for_hvm[] = "for hardware-virtualized guests";

constexpr Operation<Handler> rows[] = {
    OFFERED(__HYPERVISOR_set_trap_table, bind<set_trap_table>, Guest),
    OFFERED(__HYPERVISOR_mmu_update, bind<mmu_update>, Guest),
    OFFERED(__HYPERVISOR_set_gdt, bind<set_gdt>, Guest),
    OFFERED(__HYPERVISOR_stack_switch, bind<stack_switch>, Guest),
    OFFERED(__HYPERVISOR_set_callbacks, bind<set_callbacks>, Guest),
    OFFERED(__HYPERVISOR_fpu_taskswitch, bind<fpu_taskswitch>, Guest),
    OFFERED(__HYPERVISOR_sched_op_compat, bind<sched_op_compat>, Guest),
    OFFERED(__HYPERVISOR_platform_op, bind<platform_op>, Dom0),
    OFFERED(__HYPERVISOR_set_debugreg, bind<set_debugreg>, Guest),
    OFFERED(__HYPERVISOR_get_debugreg, bind<get_debugreg>, Guest),
    OFFERED(__HYPERVISOR_update_descriptor, bind<update_descriptor>, Guest),
    OFFERED(__HYPERVISOR_memory_op, bind<memory_op>, Guest),
    OFFERED(__HYPERVISOR_multicall, bind<multicall>, Guest),
    OFFERED(__HYPERVISOR_update_va_mapping, bind<update_va_mapping>, Guest),
    OFFERED(__HYPERVISOR_set_timer_op, bind<set_timer_op>, Guest),
    REFUSED(__HYPERVISOR_event_channel_op_compat, NoSys, Guest, obsolete),
    OFFERED(__HYPERVISOR_xen_version, bind<xen_version>, Guest),
    OFFERED(__HYPERVISOR_console_io, bind<console_io>, Guest),
    REFUSED(__HYPERVISOR_physdev_op_compat, NoSys, Guest, obsolete),
    OFFERED(__HYPERVISOR_grant_table_op, bind<grant_table_op>, Guest),
    OFFERED(__HYPERVISOR_vm_assist, bind<vm_assist>, Guest),
    OFFERED(__HYPERVISOR_update_va_mapping_otherdomain, bind<update_va_mapping_otherdomain>, Guest),
    OFFERED(__HYPERVISOR_iret, bind<hypercall_iret>, Guest),
    OFFERED(__HYPERVISOR_vcpu_op, bind<vcpu_op>, Guest),
    OFFERED(__HYPERVISOR_set_segment_base, bind<set_segment_base>, Guest),
    OFFERED(__HYPERVISOR_mmuext_op, bind<mmuext_op>, Guest),
    REFUSED(__HYPERVISOR_xsm_op, NoSys, Guest, "no security modules"),
    OFFERED(__HYPERVISOR_nmi_op, bind<nmi_op>, Guest),
    OFFERED(__HYPERVISOR_sched_op, bind<sched_op>, Guest),
    OFFERED(__HYPERVISOR_callback_op, bind<callback_op>, Guest),
    REFUSED(__HYPERVISOR_xenoprof_op, NoSys, Guest, "Xen itself took it away"),
    OFFERED(__HYPERVISOR_event_channel_op, bind<event_channel_op>, Guest),
    OFFERED(__HYPERVISOR_physdev_op, bind<physdev_op>, Guest),
    REFUSED(__HYPERVISOR_hvm_op, NoSys, Guest, for_hvm),
    OFFERED(__HYPERVISOR_sysctl, bind<sysctl>, Dom0),
    OFFERED(__HYPERVISOR_domctl, bind<domctl>, Dom0),
    REFUSED(__HYPERVISOR_kexec_op, NoSys, Guest, "no crash kernel"),
    REFUSED(__HYPERVISOR_tmem_op, NoSys, Guest, "Xen itself took it away"),
    REFUSED(__HYPERVISOR_argo_op, NoSys, Guest, "domains talk by grants and event channels"),
    REFUSED(__HYPERVISOR_xenpmu_op, NoSys, Guest, "performance counters are not virtualized"),
    REFUSED(__HYPERVISOR_dm_op, NoSys, Guest, for_hvm),
    REFUSED(__HYPERVISOR_hypfs_op, NoSys, Guest, "options are read by sysctl"),
    OFFERED(__HYPERVISOR_mca, bind<mca>, Dom0),
    OFFERED_WITH(__HYPERVISOR_arch_7, bind<extension>, Guest, "Domus' own: docs/abi-extensions.md"),
};

struct Table {
    const Operation<Handler>* by_number[hypercall_numbers] = {};
    constexpr Table() {
        for (const auto& row : rows) {
            if (row.offered())
                by_number[row.number] = &row;
        }
    }
};
constexpr Table table;

const Operation<Handler>* find_hypercall(u32 number) {
    return number < hypercall_numbers ? table.by_number[number] : nullptr;
}

// Frequent ones that look at no register of the guest's but their arguments (iret has a short way of its own).
constexpr u32 short_ones[] = {
    __HYPERVISOR_mmu_update,
    __HYPERVISOR_stack_switch,
    __HYPERVISOR_fpu_taskswitch,
    __HYPERVISOR_set_debugreg,
    __HYPERVISOR_update_descriptor,
    __HYPERVISOR_memory_op,
    __HYPERVISOR_multicall,
    __HYPERVISOR_update_va_mapping,
    __HYPERVISOR_set_timer_op,
    __HYPERVISOR_xen_version,
    __HYPERVISOR_grant_table_op,
    __HYPERVISOR_vcpu_op,
    __HYPERVISOR_set_segment_base,
    __HYPERVISOR_mmuext_op,
    __HYPERVISOR_sched_op,
    __HYPERVISOR_event_channel_op,
    __HYPERVISOR_arch_7,
};

} // namespace

extern "C" {
constinit Handler short_hypercalls[hypercall_numbers] = {};
}

void switch_short_hypercalls_on() {
    for (const u32 number : short_ones) {
        const auto* row = find_hypercall(number);
        if (row && row->may == May::Guest)
            short_hypercalls[number] = row->run;
    }
}

namespace {

constexpr std::array<Handler, hypercall_numbers> find_listed() {
    std::array<Handler, hypercall_numbers> found{};
    for (const auto& row : rows) {
        if (row.offered() && row.may == May::Guest && row.number != __HYPERVISOR_iret &&
            row.number != __HYPERVISOR_multicall)
            found[row.number] = row.run;
    }
    return found;
}

} // namespace

constinit const std::array<Handler, hypercall_numbers> listed_hypercalls = find_listed();

const OperationList hypercalls(rows);

std::string_view hypercall_name(u32 number) {
    constexpr std::string_view prefix = "__HYPERVISOR_";
    const auto* row = find_hypercall(number);
    return row ? std::string_view(row->name).substr(prefix.size()) : std::string_view();
}

Result<i64> dispatch(u32 number, Call& call) {
    const auto* row = find_hypercall(number);
    if (!row) [[unlikely]]
        return Err::NoSys;
    ++call.domain.perf.hypercalls[number];
    // A fork makes many mmu_updates, which look for themselves; iret may come from a timer's interrupt in between.
    if (number != __HYPERVISOR_mmu_update && number != __HYPERVISOR_iret)
        bring_back_if_any(call.domain);
    if (row->may == May::Dom0 && !call.domain.privileged) [[unlikely]] {
        why(call.domain, "hypercall {} is for dom0 only", hypercall_name(number));
        return Err::Perm;
    }
    return row->run(call);
}

} // namespace domus::hv
