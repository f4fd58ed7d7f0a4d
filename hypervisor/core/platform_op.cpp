// __HYPERVISOR_platform_op: dom0's word about the machine. Source: <xen/platform.h>. Privileged callers only (the
// hypercall table says so; it is checked here again). Lock: none of its own.
#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/hypercalls_domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/time.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

constexpr u64 ns_per_s = 1'000'000'000;
constexpr u32 s5 = 5; // ACPI: soft off

struct Platform {
    Call& call;
    xen_platform_op& op;
    bool answer = false; // copy `op` back to the caller
};

Result<i64> set_time(u64 seconds, u32 nanoseconds, u64 system_time) {
    const auto ns = checked_multiply(seconds, ns_per_s);
    if (!ns || nanoseconds >= ns_per_s)
        return Err::Inval;
    set_wall_clock(*ns + nanoseconds, system_time);
    return i64{0};
}

Result<i64> op_settime64(Platform& p) {
    const auto& time = p.op.u.settime64;
    if (time.mbz != 0)
        return Err::Inval;
    return set_time(time.secs, time.nsecs, time.system_time);
}

Result<i64> op_settime32(Platform& p) {
    const auto& time = p.op.u.settime32;
    return set_time(time.secs, time.nsecs, time.system_time);
}

// CPUs are numbered 0 .. cpu_count()-1; APIC and ACPI numbers are taken to be the same.
Result<i64> op_get_cpuinfo(Platform& p) {
    auto& info = p.op.u.pcpu_info;
    const u32 cpu = info.xen_cpuid;
    info.max_present = arch::cpu_count() - 1;
    const bool present = cpu < arch::cpu_count();
    info.flags = present ? XEN_PCPU_FLAGS_ONLINE : XEN_PCPU_FLAGS_INVALID;
    info.apic_id = present ? cpu : 0;
    info.acpi_id = present ? cpu : 0;
    p.answer = true;
    return i64{0};
}

// What the firmware knew of disks, screen and keyboard is not kept: "no such disk" ends Linux' search.
Result<i64> op_firmware_info(Platform& p) {
    auto& info = p.op.u.firmware_info;
    switch (info.type) {
    case XEN_FW_DISK_INFO:
    case XEN_FW_DISK_MBR_SIGNATURE:
    case XEN_FW_VBEDDC_INFO:
        return Err::Srch;
    case XEN_FW_KBD_SHIFT_FLAGS:
        if (info.index != 0)
            return Err::Srch;
        info.u.kbd_shift_flags = 0;
        p.answer = true;
        return i64{0};
    default:
        return Err::NoSys;
    }
}

Result<i64> op_enter_acpi_sleep(Platform& p) {
    const auto& sleep = p.op.u.enter_acpi_sleep;
    if (sleep.sleep_state != s5 || (sleep.flags & ~u32{XENPF_ACPI_SLEEP_EXTENDED}) != 0) {
        why(p.call.domain, "only sleep state 5 (off) is offered, not {}", sleep.sleep_state);
        return Err::Inval;
    }
    log(Level::Info, "dom0 switches the machine off");
    arch::power_off();
}

Result<i64> op_getidletime(Platform& p) {
    auto& request = p.op.u.getidletime;
    request.now = arch::now().n;
    const u32 cpus = std::min(request.cpumap_nr_cpus, arch::max_cpus);
    for (u32 byte = 0; byte * 8 < cpus; ++byte) {
        u8 map = TRY(copy_in(guest_ptr(request.cpumap_bitmap), byte));
        for (u32 bit = 0; bit < 8 && byte * 8 + bit < cpus; ++bit) {
            if (((map >> bit) & 1) == 0)
                continue;
            const u32 cpu = byte * 8 + bit;
            const bool present = cpu < arch::cpu_count();
            TRY(copy_out(guest_ptr(request.idletime), present ? idle_time(CpuId(cpu)) : 0, cpu));
            if (!present)
                map = static_cast<u8>(map & ~(1u << bit));
        }
        TRY(copy_out(guest_ptr(request.cpumap_bitmap), map, byte));
    }
    p.answer = true;
    return i64{0};
}

constexpr char hotplug[] = "no hot-plug";

constexpr Operation<Result<i64> (*)(Platform&)> platform_ops[] = {
    OFFERED(XENPF_settime32, op_settime32, Dom0),
    REFUSED(XENPF_add_memtype, NoSys, Dom0, "the firmware's MTRRs stand"),
    REFUSED(XENPF_del_memtype, NoSys, Dom0, "the firmware's MTRRs stand"),
    REFUSED(XENPF_read_memtype, NoSys, Dom0, "the firmware's MTRRs stand"),
    REFUSED(XENPF_microcode_update, NoSys, Dom0, "microcode is left to the firmware"),
    REFUSED(XENPF_platform_quirk, NoSys, Dom0, "no machine with such a quirk is run on"),
    REFUSED(XENPF_get_cpu_version, NoSys, Dom0, "CPUID tells"),
    REFUSED(XENPF_efi_runtime_call, NoSys, Dom0, "EFI's run-time services are not kept"),
    OFFERED_WITH(XENPF_firmware_info, op_firmware_info, Dom0, "keyboard flags; of disks and screen nothing is kept"),
    OFFERED_WITH(XENPF_enter_acpi_sleep, op_enter_acpi_sleep, Dom0, "S5 (off) only"),
    REFUSED(XENPF_change_freq, NoSys, Dom0, "frequencies are left to the processor"),
    OFFERED(XENPF_getidletime, op_getidletime, Dom0),
    REFUSED(XENPF_set_processor_pminfo, NoSys, Dom0, "frequencies are left to the processor"),
    OFFERED(XENPF_get_cpuinfo, op_get_cpuinfo, Dom0),
    REFUSED(XENPF_cpu_online, NoSys, Dom0, hotplug),
    REFUSED(XENPF_cpu_offline, NoSys, Dom0, hotplug),
    REFUSED(XENPF_cpu_hotadd, NoSys, Dom0, hotplug),
    REFUSED(XENPF_mem_hotadd, NoSys, Dom0, hotplug),
    REFUSED(XENPF_core_parking, NoSys, Dom0, "cores are not parked"),
    REFUSED(XENPF_resource_op, NoSys, Dom0, "MSRs are not given away, not to dom0 either"),
    OFFERED(XENPF_settime64, op_settime64, Dom0),
    REFUSED(XENPF_get_symbol, NoSys, Dom0, "the image holds no symbols"),
};

} // namespace

// Err::Perm: not dom0; Err::Access: another version of the interface; Err::NoSys: not offered.
Result<i64> platform_op(Call& call, GuestPtr<xen_platform_op_t> operation) {
    if (!call.domain.privileged)
        return Err::Perm;
    xen_platform_op_t op = TRY(copy_in(operation));
    if (op.interface_version != XENPF_INTERFACE_VERSION)
        return Err::Access;
    const auto* row = find_operation(platform_ops, op.cmd);
    if (!row)
        return Err::NoSys;
    TRY(admit(*row, call.domain.privileged));
    Platform platform{call, op};
    const i64 result = TRY(row->run(platform));
    if (platform.answer)
        TRY(copy_out(operation, op));
    return result;
}

const OperationList platform_operations(platform_ops);

} // namespace domus::hv
