// Into the guest kernel. Owner: the vcpu that runs on this CPU; no lock. Called on every trap, system call and event.
#include "hypervisor/pv/bounce.hpp"

#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/format.hpp"
#include "hypervisor/core/guest_memory.hpp"

namespace domus::hv {
namespace {

constexpr u64 flag_interrupt = 1 << 9;

struct Frame {
    u64 words[12];
    u32 count = 0;
    void push(u64 v) { words[count++] = v; }
};

} // namespace

void crash_guest(Domain& d, std::string_view what, std::string_view reason, u64 address) {
    char text[200];
    crash_domain(d, format_to(text, "{}: {} (at {x})", what, reason, address));
}

void enter_guest_kernel(Vcpu& v) {
    if (v.pv.in_kernel)
        return;
    v.pv.in_kernel = true;
    arch::swap_gs();
    arch::load_root(frame_of(Maddr(v.pv.kernel_root)));
}

bool enter_guest_user(Vcpu& v) {
    if (!v.pv.in_kernel)
        return true;
    if (v.pv.user_root == 0)
        return false;
    v.pv.in_kernel = false;
    arch::swap_gs();
    arch::load_root(frame_of(Maddr(v.pv.user_root)));
    return true;
}

void bounce_to_guest(Vcpu& v, GuestRegs& r, const Bounce& b) {
    if (b.entry == 0)
        return crash_guest(v.domain, b.what, "the guest has no handler for it", r.rip);
    const bool from_kernel = v.pv.in_kernel;
    const u8 masked = v.info->evtchn_upcall_mask;
    Frame f;
    f.push(r.rcx);
    f.push(r.r11);
    if (b.with_selectors) {
        for (char which : {'d', 'e', 'f', 'g'})
            f.push(arch::data_selector(which));
    }
    if (b.error_code)
        f.push(*b.error_code);
    f.push(r.rip);
    f.push((from_kernel ? r.cs & 0xfffc : r.cs & 0xffff) | u64{masked} << 32);
    f.push((r.rflags & ~flag_interrupt) | (masked ? 0 : flag_interrupt));
    f.push(r.rsp);
    f.push(r.ss & 0xffff);

    enter_guest_kernel(v);
    const u64 bytes = f.count * sizeof(u64);
    const u64 sp = ((from_kernel ? r.rsp : v.pv.kernel_sp) & ~u64{15}) - bytes;
    // iret, sysret, syscall class: the frame must lie where a guest may write, wherever the guest pointed its stack.
    if (!copy_out_bytes(sp, f.words, bytes))
        return crash_guest(v.domain, b.what, "its kernel stack cannot take the frame", sp);
    r.rip = b.entry;
    r.cs = b.cs | 3;
    r.ss = FLAT_KERNEL_SS;
    r.rsp = sp;
    r.rflags = (r.rflags & ~rflags_cleared_on_entry) | flag_interrupt;
    if (b.mask_events)
        v.info->evtchn_upcall_mask = 1;
}

void bounce_trap(Vcpu& v, GuestRegs& r, u32 vector, u32 error_code) {
    const trap_info_t& t = v.pv.traps[vector];
    Bounce b{t.address, t.cs, (t.flags & 4) != 0};
    if (vector < 32 && (trap_has_error_code >> vector & 1))
        b.error_code = error_code;
    b.what = "an exception cannot be delivered";
    bounce_to_guest(v, r, b);
}

void bounce_page_fault(Vcpu& v, GuestRegs& r, u64 address, u32 error_code) {
    constexpr u32 user = 4;
    v.pv.cr2 = address;
    v.info->arch.cr2 = address;
    ++v.domain.perf.counts[static_cast<usize>(Count::GuestPageFaults)];
    // Guest kernel and user both run in ring 3; the guest wants to know which of its modes it was.
    bounce_trap(v, r, 14, v.pv.in_kernel ? error_code & ~user : error_code | user);
}

} // namespace domus::hv
