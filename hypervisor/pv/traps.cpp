// What comes in from a running guest: exceptions, system calls, hypercalls, refused returns, events to deliver.
// Owner: the vcpu on this CPU; no lock of its own.
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/guest_memory.hpp"
#include "hypervisor/core/hypercall.hpp"
#include "hypervisor/pv/bounce.hpp"
#include "hypervisor/pv/emulate.hpp"
#include "hypervisor/pv/stray_writes.hpp"

namespace domus::hv {
namespace {

enum Vector : u32 {
    debug = 1,
    breakpoint = 3,
    overflow = 4,
    invalid_opcode = 6,
    no_device = 7,
    protection = 13,
    page_fault = 14
};

// `int n` through the guest's trap table. rip is already behind the instruction when `behind` is set.
bool software_interrupt(Vcpu& v, GuestRegs& r, u32 vector, bool behind) {
    const trap_info_t& t = v.pv.traps[vector];
    const u32 needed = v.pv.in_kernel ? 1 : 3;
    if ((t.flags & 3) < needed || t.address == 0)
        return false;
    if (!behind)
        r.rip += 2;
    bounce_to_guest(v, r, {t.address, t.cs, (t.flags & 4) != 0, false, {}, "a software interrupt cannot be delivered"});
    return true;
}

void general_protection(Vcpu& v, GuestRegs& r) {
    ++v.domain.perf.counts[static_cast<usize>(Count::GeneralFaults)];
    u8 code[2];
    // The error code alone cannot tell: some emulators give a wrong one for `int n`.
    if ((r.error_code & 2) && copy_in_bytes(code, r.rip, 2) && code[0] == 0xcd) {
        if (!software_interrupt(v, r, code[1], false))
            bounce_trap(v, r, protection, u32{code[1]} << 3 | 2);
        return;
    }
    if (r.error_code == 0 && emulate_privileged(v, r))
        return;
    bounce_trap(v, r, protection, r.error_code);
}

void handle_page_fault(Vcpu& v, GuestRegs& r) {
    const u64 address = arch::fault_address();
    if (fix_page_fault(v, r, address, r.error_code)) {
        ++v.domain.perf.counts[static_cast<usize>(Count::FixedPageFaults)];
        return;
    }
    bounce_page_fault(v, r, address, r.error_code);
}

} // namespace

void guest_trap(Vcpu& v, GuestRegs& r) {
    if (r.vector < 32)
        ++v.domain.perf.traps[r.vector];
    switch (r.vector) {
    case page_fault:
        return handle_page_fault(v, r);
    case protection:
        return general_protection(v, r);
    case invalid_opcode:
        if (emulate_forced_cpuid(v, r))
            return;
        break;
    case no_device: // the interface clears TS when it delivers #NM
        arch::set_task_switched(false);
        break;
    case debug:
        v.pv.dr[6] = arch::debug_status_and_clear();
        break;
    case 0x80:
        if (software_interrupt(v, r, 0x80, true))
            return;
        r.rip -= 2;
        return bounce_trap(v, r, protection, 0x80 << 3 | 2);
    default:
        break;
    }
    bounce_trap(v, r, r.vector & 0xff, r.error_code);
}

void guest_syscall(Vcpu& v, GuestRegs& r) {
    ++v.domain.perf.counts[static_cast<usize>(Count::SystemCalls)];
    if (v.pv.syscall_entry == 0) { // as a CPU with EFER.SCE off
        r.rip -= 2;
        return bounce_trap(v, r, invalid_opcode, 0);
    }
    bounce_to_guest(v, r,
                    {v.pv.syscall_entry,
                     FLAT_KERNEL_CS,
                     v.pv.syscall_masks_events,
                     false,
                     {},
                     "a system call cannot be delivered"});
}

void guest_hypercall(Vcpu& v, GuestRegs& r) {
    const u32 number = static_cast<u32>(r.rax);
    Call call{v, v.domain, {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9}};
    const Result<i64> result = dispatch(number, call);
    if (result) {
        r.rax = static_cast<u64>(result.value());
        return;
    }
    if (result.error() != Err::Restart) {
        r.rax = static_cast<u64>(-static_cast<i64>(result.error()));
        return;
    }
    r.rdi = call.args[0], r.rsi = call.args[1], r.rdx = call.args[2];
    r.r10 = call.args[3], r.r8 = call.args[4], r.r9 = call.args[5];
    r.rip -= 2; // SYSCALL again, after the exit path did what waited
}

void guest_failed_return(Vcpu& v, GuestRegs& r) {
    if (v.pv.in_kernel && r.rip == v.pv.failsafe_entry)
        return crash_guest(v.domain, "its failsafe callback itself cannot be entered", "IRETQ refused it", r.rip);
    bounce_to_guest(v, r,
                    {v.pv.failsafe_entry,
                     FLAT_KERNEL_CS,
                     v.pv.failsafe_masks_events,
                     true,
                     {},
                     "a refused return to the guest cannot be reported"});
}

void deliver_event(Vcpu& v, GuestRegs& r) {
    ++v.domain.perf.counts[static_cast<usize>(Count::EventUpcalls)];
    bounce_to_guest(v, r, {v.pv.event_entry, FLAT_KERNEL_CS, true, false, {}, "an event upcall cannot be delivered"});
}

void deliver_nmi(Vcpu& v, GuestRegs& r) {
    v.nmi_pending.store(false);
    if (v.pv.nmi_entry)
        bounce_to_guest(v, r, {v.pv.nmi_entry, FLAT_KERNEL_CS, true, false, {}, "an NMI cannot be delivered"});
}

} // namespace domus::hv
