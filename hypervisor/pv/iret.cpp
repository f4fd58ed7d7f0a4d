// The iret hypercall: the only way from the guest kernel to guest user mode. Owner: the vcpu on this CPU.
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/hypercall.hpp"
#include "hypervisor/pv/bounce.hpp"
#include "hypervisor/pv/hypercalls_pv.hpp"

namespace domus::hv {
namespace {
constexpr u64 flag_interrupt = 1 << 9;
} // namespace

Result<i64> hypercall_iret(Call& call) {
    Vcpu& v = call.vcpu;
    GuestRegs& r = arch::guest_regs(v);
    iret_context frame;
    if (!copy_in_bytes(&frame, r.rsp, sizeof frame)) {
        crash_guest(v.domain, "iret hypercall", "the frame on its stack cannot be read", r.rsp);
        return i64{0};
    }
    const bool to_user = (frame.cs & 3) == 3;
    if (to_user && !enter_guest_user(v)) {
        crash_guest(v.domain, "iret hypercall to user mode", "no user page table was given (MMUEXT_NEW_USER_BASEPTR)",
                    frame.rip);
        return i64{0};
    }
    r.rip = frame.rip;
    r.cs = (frame.cs & 0xffff) | 3; // ring 3 whatever the guest says; IRETQ judges the rest
    r.ss = (frame.ss & 0xffff) | 3;
    r.rsp = frame.rsp;
    r.rflags = (frame.rflags & guest_rflags_mask) | guest_rflags_forced;
    if (!(frame.flags & VGCF_in_syscall)) {
        r.r11 = frame.r11;
        r.rcx = frame.rcx;
    }
    v.info->evtchn_upcall_mask = (frame.rflags & flag_interrupt) ? 0 : 1;
    return static_cast<i64>(frame.rax);
}

} // namespace domus::hv
