// A table of hypercalls with the answer each must give: numbers and operations that do not exist, arguments out of
// range, pointers that lead nowhere, into the hypervisor, or off the address space. Expectations: Xen 4.17, measured.
#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/test.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

constexpr u64 not_mapped = 0x1000, in_hypervisor = 0xffff820000000000, not_canonical = u64{1} << 62;
constexpr u64 no_port = 1000, no_vcpu = 999, no_domain = 1234;
constexpr u64 self = DOMID_SELF;

struct Call {
    const char* name;
    unsigned number;
    u64 a, b, c, d;
    long expected;
};

alignas(64) u8 room[4096]; // somewhere to write answers

template <class T>
u64 at(T& argument) {
    return reinterpret_cast<u64>(&argument);
}

// Operations that do not exist.
const Call unknown[] = {
    {"number_7f", 127, 0, 0, 0, 0, -XEN_ENOSYS},
    {"number_11_unused", 11, 0, 0, 0, 0, -XEN_ENOSYS},
    {"xen_version_99", __HYPERVISOR_xen_version, 99, 0, 0, 0, -XEN_ENOSYS},
    {"sched_op_99", __HYPERVISOR_sched_op, 99, 0, 0, 0, -XEN_ENOSYS},
    {"memory_op_63", __HYPERVISOR_memory_op, 63, at(room), 0, 0, -XEN_ENOSYS},
    {"event_channel_op_99", __HYPERVISOR_event_channel_op, 99, at(room), 0, 0, -XEN_ENOSYS},
    {"grant_table_op_99", __HYPERVISOR_grant_table_op, 99, at(room), 1, 0, -XEN_ENOSYS},
    {"vcpu_op_99", __HYPERVISOR_vcpu_op, 99, 0, at(room), 0, -XEN_ENOSYS},
    {"callback_op_99", __HYPERVISOR_callback_op, 99, at(room), 0, 0, -XEN_ENOSYS},
    {"console_io_99", __HYPERVISOR_console_io, 99, 0, 0, 0, -XEN_ENOSYS},
    {"physdev_op_99", __HYPERVISOR_physdev_op, 99, at(room), 0, 0, -XEN_ENOSYS},
    {"vm_assist_cmd_99", __HYPERVISOR_vm_assist, 99, 0, 0, 0, -XEN_ENOSYS},
    {"vm_assist_type_63", __HYPERVISOR_vm_assist, VMASST_CMD_enable, 63, 0, 0, -XEN_EINVAL},
    {"nmi_op_99", __HYPERVISOR_nmi_op, 99, 0, 0, 0, -XEN_ENOSYS},
    {"domctl_old_version", __HYPERVISOR_domctl, at(room), 0, 0, 0, -XEN_EACCES},
    {"sysctl_old_version", __HYPERVISOR_sysctl, at(room), 0, 0, 0, -XEN_EACCES},
    {"platform_op_old_version", __HYPERVISOR_platform_op, at(room), 0, 0, 0, -XEN_EACCES},
};

evtchn_send_t send_zero{0}, send_unused{no_port}, send_huge{~0u};
evtchn_close_t close_zero{0}, close_unused{no_port};
evtchn_bind_virq_t bad_virq{24, 0, 0}, virq_no_vcpu{VIRQ_TIMER, no_vcpu, 0};
evtchn_bind_ipi_t ipi_no_vcpu{no_vcpu, 0};
evtchn_alloc_unbound_t unbound_for_nobody{no_domain, DOMID_SELF, 0};
evtchn_bind_interdomain_t bind_unused{DOMID_SELF, no_port, 0}, bind_no_domain{no_domain, 1, 0};
evtchn_unmask_t unmask_huge{1u << 20};
evtchn_status_t status_huge{DOMID_SELF, 1u << 20, 0, 0, {}};
evtchn_bind_vcpu_t move_unused{no_port, 0};

const Call events[] = {
    {"send_port_0", __HYPERVISOR_event_channel_op, EVTCHNOP_send, at(send_zero), 0, 0, -XEN_EINVAL},
    {"send_free_port", __HYPERVISOR_event_channel_op, EVTCHNOP_send, at(send_unused), 0, 0, -XEN_EINVAL},
    {"send_port_2^32-1", __HYPERVISOR_event_channel_op, EVTCHNOP_send, at(send_huge), 0, 0, -XEN_EINVAL},
    {"close_port_0", __HYPERVISOR_event_channel_op, EVTCHNOP_close, at(close_zero), 0, 0, -XEN_EINVAL},
    {"close_free_port", __HYPERVISOR_event_channel_op, EVTCHNOP_close, at(close_unused), 0, 0, -XEN_EINVAL},
    {"bind_virq_24", __HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, at(bad_virq), 0, 0, -XEN_EINVAL},
    {"bind_virq_no_vcpu", __HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, at(virq_no_vcpu), 0, 0, -XEN_ENOENT},
    {"bind_ipi_no_vcpu", __HYPERVISOR_event_channel_op, EVTCHNOP_bind_ipi, at(ipi_no_vcpu), 0, 0, -XEN_ENOENT},
    {"alloc_no_domain", __HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, at(unbound_for_nobody), 0, 0,
     -XEN_ESRCH},
    {"interdomain_free_port", __HYPERVISOR_event_channel_op, EVTCHNOP_bind_interdomain, at(bind_unused), 0, 0,
     -XEN_EINVAL},
    {"interdomain_no_domain", __HYPERVISOR_event_channel_op, EVTCHNOP_bind_interdomain, at(bind_no_domain), 0, 0,
     -XEN_ESRCH},
    {"unmask_port_2^20", __HYPERVISOR_event_channel_op, EVTCHNOP_unmask, at(unmask_huge), 0, 0, -XEN_EINVAL},
    {"status_port_2^20", __HYPERVISOR_event_channel_op, EVTCHNOP_status, at(status_huge), 0, 0, -XEN_EINVAL},
    {"move_free_port", __HYPERVISOR_event_channel_op, EVTCHNOP_bind_vcpu, at(move_unused), 0, 0, -XEN_EINVAL},
};

evtchn_port_t unused_port = no_port;
sched_poll_t many_ports{{nullptr}, 129, 0}, poll_unused{{&unused_port}, 1, 1}, poll_nothing{{nullptr}, 0, 1};
sched_watchdog_t no_watchdog{7, 10};
vcpu_set_periodic_timer_t fast_timer{1000};
vcpu_set_singleshot_timer_t past_timer{1, VCPU_SSHOTTMR_future};
vcpu_register_vcpu_info_t across_page{0, 4096 - 32, 0};

const Call scheduling[] = {
    {"yield", __HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0, 0, 0},
    {"poll_129_ports", __HYPERVISOR_sched_op, SCHEDOP_poll, at(many_ports), 0, 0, -XEN_EINVAL},
    {"poll_free_port", __HYPERVISOR_sched_op, SCHEDOP_poll, at(poll_unused), 0, 0, -XEN_EINVAL},
    {"poll_nothing_until_past", __HYPERVISOR_sched_op, SCHEDOP_poll, at(poll_nothing), 0, 0, 0},
    {"watchdog_not_set", __HYPERVISOR_sched_op, SCHEDOP_watchdog, at(no_watchdog), 0, 0, -XEN_EINVAL},
    {"timer_off", __HYPERVISOR_set_timer_op, 0, 0, 0, 0, 0},
    {"vcpu_999", __HYPERVISOR_vcpu_op, VCPUOP_is_up, no_vcpu, 0, 0, -XEN_ENOENT},
    {"vcpu_0_is_up", __HYPERVISOR_vcpu_op, VCPUOP_is_up, 0, 0, 0, 1},
    {"vcpu_1_up_before_initialise", __HYPERVISOR_vcpu_op, VCPUOP_up, 1, 0, 0, -XEN_EINVAL},
    {"periodic_timer_1us", __HYPERVISOR_vcpu_op, VCPUOP_set_periodic_timer, 0, at(fast_timer), 0, -XEN_EINVAL},
    {"single_timer_of_other_vcpu", __HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 1, at(past_timer), 0,
     -XEN_EINVAL},
    {"vcpu_info_across_page", __HYPERVISOR_vcpu_op, VCPUOP_register_vcpu_info, 0, at(across_page), 0, -XEN_ENXIO},
};

callback_register_t bad_type{99, 0, 0}, bad_address{CALLBACKTYPE_event, 0, not_canonical};
callback_unregister_t unregister_event{CALLBACKTYPE_event, 0};
trap_info_t bad_trap[2] = {{200, 0, FLAT_KERNEL_CS, not_canonical}, {}};
physdev_set_iopl_t iopl_4{4}, iopl_1{1};

const Call processor[] = {
    {"callback_type_99", __HYPERVISOR_callback_op, CALLBACKOP_register, at(bad_type), 0, 0, -XEN_ENOSYS},
    {"callback_not_canonical", __HYPERVISOR_callback_op, CALLBACKOP_register, at(bad_address), 0, 0, -XEN_EINVAL},
    {"callback_unregister_event", __HYPERVISOR_callback_op, CALLBACKOP_unregister, at(unregister_event), 0, 0,
     -XEN_EINVAL},
    {"trap_not_canonical", __HYPERVISOR_set_trap_table, at(bad_trap), 0, 0, 0, -XEN_EINVAL},
    {"segment_base_which_9", __HYPERVISOR_set_segment_base, 9, 0, 0, 0, -XEN_EINVAL},
    {"fs_base_not_canonical", __HYPERVISOR_set_segment_base, SEGBASE_FS, not_canonical, 0, 0, -XEN_EINVAL},
    {"gs_base_not_canonical", __HYPERVISOR_set_segment_base, SEGBASE_GS_KERNEL, not_canonical, 0, 0, -XEN_EINVAL},
    {"fs_base", __HYPERVISOR_set_segment_base, SEGBASE_FS, 0x1234000, 0, 0, 0},
    {"debug_register_9", __HYPERVISOR_set_debugreg, 9, 0, 0, 0, -XEN_ENODEV},
    {"debug_register_0_in_hypervisor", __HYPERVISOR_set_debugreg, 0, in_hypervisor, 0, 0, -XEN_EPERM},
    {"debug_register_0", __HYPERVISOR_set_debugreg, 0, 0x5000, 0, 0, 0},
    {"debug_register_0_back", __HYPERVISOR_get_debugreg, 0, 0, 0, 0, 0x5000},
    {"gdt_too_long", __HYPERVISOR_set_gdt, at(room), 8192, 0, 0, -XEN_EINVAL},
    {"gdt_none", __HYPERVISOR_set_gdt, 0, 0, 0, 0, 0},
    {"fpu_taskswitch", __HYPERVISOR_fpu_taskswitch, 0, 0, 0, 0, 0},
    {"iopl_4", __HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, at(iopl_4), 0, 0, -XEN_EINVAL},
    {"iopl_1", __HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, at(iopl_1), 0, 0, 0},
    {"mmu_update_of_none", __HYPERVISOR_mmu_update, 0, 0, 0, self, 0},
    {"mmu_update_no_domain", __HYPERVISOR_mmu_update, at(room), 1, 0, no_domain, -XEN_ESRCH},
    {"update_va_flags", __HYPERVISOR_update_va_mapping, 0, 0, 7, 0, -XEN_EINVAL},
    {"multicall_of_none", __HYPERVISOR_multicall, 0, 0, 0, 0, 0},
};

template <std::size_t n>
void run(const Call (&table)[n]) {
    for (const auto& call : table)
        expect(hypercall(call.number, call.a, call.b, call.c, call.d), call.expected, call.name);
}

// Calls that read or write through a pointer, each with every kind of bad pointer in argument `where`.
struct PointerCall {
    const char* name;
    unsigned number;
    u64 a, b, c;
    int where;
};
const PointerCall pointer_calls[] = {
    {"set_trap_table", __HYPERVISOR_set_trap_table, 0, 0, 0, 0},
    {"mmu_update", __HYPERVISOR_mmu_update, 0, 1, 0, 0},
    {"mmuext_op", __HYPERVISOR_mmuext_op, 0, 1, 0, 0},
    {"multicall", __HYPERVISOR_multicall, 0, 1, 0, 0},
    {"extraversion", __HYPERVISOR_xen_version, XENVER_extraversion, 0, 0, 1},
    {"get_features", __HYPERVISOR_xen_version, XENVER_get_features, 0, 0, 1},
    {"console_write", __HYPERVISOR_console_io, CONSOLEIO_write, 4, 0, 2},
    {"current_reservation", __HYPERVISOR_memory_op, XENMEM_current_reservation, 0, 0, 1},
    {"machphys_mapping", __HYPERVISOR_memory_op, XENMEM_machphys_mapping, 0, 0, 1},
    {"event_send", __HYPERVISOR_event_channel_op, EVTCHNOP_send, 0, 0, 1},
    {"event_alloc", __HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, 0, 0, 1},
    {"sched_shutdown", __HYPERVISOR_sched_op, SCHEDOP_shutdown, 0, 0, 1},
    {"sched_poll", __HYPERVISOR_sched_op, SCHEDOP_poll, 0, 0, 1},
    {"grant_map", __HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, 0, 1, 1},
    {"grant_query_size", __HYPERVISOR_grant_table_op, GNTTABOP_query_size, 0, 1, 1},
    {"vcpu_runstate", __HYPERVISOR_vcpu_op, VCPUOP_get_runstate_info, 0, 0, 2},
    {"vcpu_initialise", __HYPERVISOR_vcpu_op, VCPUOP_initialise, 1, 0, 2},
    {"single_timer", __HYPERVISOR_vcpu_op, VCPUOP_set_singleshot_timer, 0, 0, 2},
    {"callback", __HYPERVISOR_callback_op, CALLBACKOP_register, 0, 0, 1},
    {"physdev_iopl", __HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, 0, 0, 1},
    {"domctl", __HYPERVISOR_domctl, 0, 0, 0, 0},
    {"sysctl", __HYPERVISOR_sysctl, 0, 0, 0, 0},
};

void bad_pointers() {
    for (const auto& call : pointer_calls) {
        long results[3] = {};
        int bad = 0;
        for (const u64 pointer : {not_mapped, in_hypervisor, not_canonical}) {
            u64 arguments[3] = {call.a, call.b, call.c};
            arguments[call.where] = pointer;
            const long result = hypercall(call.number, arguments[0], arguments[1], arguments[2], self);
            results[bad] = result;
            ++bad;
        }
        check(results[0] == -XEN_EFAULT && results[1] == -XEN_EFAULT && results[2] == -XEN_EFAULT, call.name,
              "bad pointers gave %ld (not mapped), %ld (hypervisor), %ld (not canonical), expected %d", results[0],
              results[1], results[2], -XEN_EFAULT);
    }
}

void versions() {
    const long version = xen_version(XENVER_version, nullptr);
    check(version >> 16 == 4 && (version & 0xffff) >= 17, "version", "%lx", version);
    expect(xen_version(XENVER_pagesize, nullptr), 4096, "page_size");
    xen_capabilities_info_t capabilities{};
    expect(xen_version(XENVER_capabilities, capabilities), 0, "capabilities");
    check(std::string_view(capabilities).find("xen-3.0-x86_64") == 0, "capabilities_text", "%s", capabilities);
    xen_platform_parameters_t parameters{};
    expect(xen_version(XENVER_platform_parameters, &parameters), 0, "platform_parameters");
    check(parameters.virt_start == 0xffff800000000000, "virt_start", "%lx", parameters.virt_start);
    xen_feature_info_t features{0, 0}, beyond{1, 7};
    expect(xen_version(XENVER_get_features, &features), 0, "features");
    constexpr u32 wanted = 1u << XENFEAT_mmu_pt_update_preserve_ad | 1u << XENFEAT_gnttab_map_avail_bits |
                           1u << XENFEAT_pae_pgdir_above_4gb | 1u << XENFEAT_memory_op_vnode_supported;
    constexpr u32 unwanted = 1u << XENFEAT_writable_page_tables | 1u << XENFEAT_auto_translated_physmap;
    check((features.submap & wanted) == wanted && !(features.submap & unwanted), "feature_bits", "%x", features.submap);
    check(!is_dom0() || (features.submap & 1u << XENFEAT_dom0), "feature_dom0", "%x", features.submap);
    expect(xen_version(XENVER_get_features, &beyond), -XEN_EINVAL, "features_submap_1");
}

void memory() {
    domid_t domain = DOMID_SELF, nobody = no_domain;
    expect(memory_op(XENMEM_current_reservation, &domain), static_cast<long>(boot_info->nr_pages),
           "current_reservation");
    expect(memory_op(XENMEM_current_reservation, &nobody), -XEN_ESRCH, "reservation_no_domain");
    check(memory_op(XENMEM_maximum_ram_page, nullptr) > 0x1000, "maximum_ram_page");
    xen_machphys_mapping_t mapping{};
    expect(memory_op(XENMEM_machphys_mapping, &mapping), 0, "machphys");
    check(mapping.v_start == 0xffff800000000000 && mapping.max_mfn > 0x1000, "machphys_range", "%lx", mapping.v_start);
    xen_pfn_t frame = ~u64{0} >> 12;
    xen_memory_reservation_t one{{&frame}, 1, 0, 0, DOMID_SELF};
    expect(memory_op(XENMEM_decrease_reservation, &one), 0, "decrease_of_no_frame");
    frame = mfn_of(boot_info).n;
    one.extent_order = 30;
    check(memory_op(XENMEM_increase_reservation, &one) <= 0, "increase_order_30");
    one.extent_order = 0;
    frame = 0;
    one.domid = no_domain;
    // memory_op counts the extents it did: failures of the first are 0, whatever they are
    expect(memory_op(XENMEM_populate_physmap, &one), 0, "populate_no_domain");
    for (const u64 pointer : {not_mapped, in_hypervisor, not_canonical})
        expect(memory_op(XENMEM_increase_reservation, reinterpret_cast<void*>(pointer)), 0, "reservation_bad_pointer");
}

void multicalls() {
    multicall_entry_t calls[3] = {};
    calls[0].op = __HYPERVISOR_xen_version;
    calls[0].args[0] = XENVER_pagesize;
    calls[1].op = 127;
    calls[2].op = __HYPERVISOR_sched_op;
    calls[2].args[0] = 99;
    expect(multicall(calls, 3), 0, "multicall");
    check(calls[0].result == 4096, "multicall_result_0", "%ld", (long)calls[0].result);
    check((long)calls[1].result == -XEN_ENOSYS, "multicall_result_1", "%ld", (long)calls[1].result);
    check((long)calls[2].result == -XEN_ENOSYS, "multicall_result_2", "%ld", (long)calls[2].result);
    calls[0].op = __HYPERVISOR_multicall;
    calls[0].args[0] = at(calls[1]);
    calls[0].args[1] = 1;
    expect(multicall(calls, 1), 0, "multicall_in_multicall");
    check((long)calls[0].result <= 0, "multicall_in_multicall_result", "%ld", (long)calls[0].result);
    for (const u64 number : {__HYPERVISOR_multicall, __HYPERVISOR_iret}) { // hidden behind upper bits
        calls[0].op = number | u64{1} << 32;
        calls[0].args[0] = reinterpret_cast<u64>(calls); // itself: for ever, were it taken
        calls[0].args[1] = 1;
        expect(multicall(calls, 1), 0, "multicall_with_upper_bits");
        expect((long)calls[0].result, -XEN_ENOSYS, "multicall_with_upper_bits_result");
    }
}

} // namespace

void guest_main() {
    versions();
    run(unknown);
    run(events);
    run(scheduling);
    run(processor);
    bad_pointers();
    memory();
    multicalls();
    finish();
}
