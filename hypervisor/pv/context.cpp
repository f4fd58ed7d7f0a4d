// A vcpu's guest-visible state as a whole: made, taken over from struct vcpu_guest_context, given back.
// Implements core/guest_context.hpp. Called with Rank::Control held and the vcpu not running.
#include "hypervisor/core/guest_context.hpp"

#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/descriptors.hpp"
#include "hypervisor/pv/root.hpp"

namespace domus::hv {
namespace {

bool is_entry(u64 address) {
    return address == 0 || arch::is_guest_range(Vaddr(address), 1);
}

Result<void> judge(const Vcpu& v, const vcpu_guest_context_t& c) {
    const auto refuse = [&](std::string_view field, u64 value) {
        why(v.domain, "vcpu {} context: {} is {x}, which a PV guest cannot have", v.id, field, value);
        return Err::Inval;
    };
    for (u64 base : {c.fs_base, c.gs_base_kernel, c.gs_base_user}) {
        if (!is_canonical(base))
            return refuse("a segment base", base);
    }
    for (u64 entry : {c.event_callback_eip, c.failsafe_callback_eip, c.syscall_callback_eip}) {
        if (!is_entry(entry))
            return refuse("a callback address", entry);
    }
    for (const auto& t : c.trap_ctxt) {
        if (!is_entry(t.address))
            return refuse("a trap handler", t.address);
    }
    if (c.gdt_ents > u64{14} * 512)
        return refuse("the number of GDT entries", c.gdt_ents);
    if (c.ldt_ents > 8192)
        return refuse("the number of LDT entries", c.ldt_ents);
    if (!is_canonical(c.user_regs.rip))
        return refuse("rip", c.user_regs.rip);
    return {};
}

void take_registers(Vcpu& v, const cpu_user_regs_t& u) {
    v.regs = {u.r15, u.r14,        u.r13,         u.r12,
              u.rbp, u.rbx,        u.r11,         u.r10,
              u.r9,  u.r8,         u.rax,         u.rcx,
              u.rdx, u.rsi,        u.rdi,         0,
              0,     u.rip,        u64{u.cs} | 3, (u.rflags & guest_rflags_mask) | guest_rflags_forced,
              u.rsp, u64{u.ss} | 3};
    v.pv.iopl = u.rflags >> 12 & 3; // Linux gives its secondary vcpus their I/O level this way
    v.pv.ds = u.ds, v.pv.es = u.es, v.pv.fs = u.fs, v.pv.gs = u.gs;
}

void take_callbacks(PvState& s, const vcpu_guest_context_t& c) {
    for (u32 i = 0; i < 256; ++i) {
        s.traps[i] = c.trap_ctxt[i];
        s.traps[i].vector = static_cast<u8>(i);
    }
    s.event_entry = c.event_callback_eip;
    s.failsafe_entry = c.failsafe_callback_eip;
    s.syscall_entry = c.syscall_callback_eip;
    s.syscall_masks_events = c.flags & VGCF_syscall_disables_events;
    s.failsafe_masks_events = c.flags & VGCF_failsafe_disables_events;
    s.kernel_ss = c.kernel_ss | 3;
    s.kernel_sp = c.kernel_sp;
}

} // namespace

Result<void> create_guest_context(Vcpu& v) {
    v.window = TRY(arch::allocate_window());
    auto area = arch::allocate_fpu_area();
    if (!area) {
        arch::free_window(v.window);
        return area.error();
    }
    v.fpu_area = area.value();
    return {};
}

void destroy_guest_context(Vcpu& v) {
    arch::free_window(v.window);
    arch::free_fpu_area(v);
}

Result<void> release_guest_context(Call&, Vcpu& v) {
    drop_descriptor_tables(v);
    return drop_roots(v);
}

Result<void> set_guest_context(Vcpu& v, const vcpu_guest_context_t& c) {
    TRY(judge(v, c));
    if (v.initialised)
        return Err::Busy; // once; a vcpu is not re-targeted while its tables stand
    const Mfn kernel_root{xen_cr3_to_pfn(c.ctrlreg[3])};
    const Mfn user_root{c.ctrlreg[1] ? xen_cr3_to_pfn(c.ctrlreg[1]) : 0};
    u64 frames[14];
    const u32 pages = static_cast<u32>((c.gdt_ents + 511) / 512);
    for (u32 i = 0; i < pages; ++i)
        frames[i] = c.gdt_frames[i];
    TRY(install_gdt(v, std::span<const u64>(frames, pages), static_cast<u32>(c.gdt_ents)));
    TRY(set_kernel_root(v, kernel_root));
    if (user_root.n)
        TRY(set_user_root(v, user_root));
    take_registers(v, c.user_regs);
    take_callbacks(v.pv, c);
    v.pv.fs_base = c.fs_base;
    v.pv.gs_base_kernel = c.gs_base_kernel;
    v.pv.gs_base_user = c.gs_base_user;
    v.pv.in_kernel = true;
    v.pv.cr4 = (c.ctrlreg[4] & guest_cr4_mask) | guest_cr4_initial;
    for (u32 i : {0u, 1u, 2u, 3u, 6u, 7u})
        v.pv.dr[i] = 0;
    if (c.ldt_ents)
        TRY(pv_set_ldt(v, c.ldt_base, static_cast<u32>(c.ldt_ents)));
    return {};
}

void get_guest_context(const Vcpu& v, vcpu_guest_context_t& c) {
    c = {};
    const GuestRegs& r = arch::guest_regs(const_cast<Vcpu&>(v));
    auto& u = c.user_regs;
    u.r15 = r.r15, u.r14 = r.r14, u.r13 = r.r13, u.r12 = r.r12, u.rbp = r.rbp, u.rbx = r.rbx, u.r11 = r.r11,
    u.r10 = r.r10, u.r9 = r.r9, u.r8 = r.r8, u.rax = r.rax, u.rcx = r.rcx, u.rdx = r.rdx, u.rsi = r.rsi, u.rdi = r.rdi;
    u.rip = r.rip, u.cs = static_cast<u16>(v.pv.in_kernel ? r.cs & 0xfffc : r.cs), u.rflags = r.rflags, u.rsp = r.rsp,
    u.ss = static_cast<u16>(r.ss);
    u.ds = v.pv.ds, u.es = v.pv.es, u.fs = v.pv.fs, u.gs = v.pv.gs;
    c.flags = VGCF_i387_valid | (v.pv.in_kernel ? VGCF_in_kernel : 0) | VGCF_online |
              (v.pv.syscall_masks_events ? VGCF_syscall_disables_events : 0) |
              (v.pv.failsafe_masks_events ? VGCF_failsafe_disables_events : 0);
    for (u32 i = 0; i < 256; ++i)
        c.trap_ctxt[i] = v.pv.traps[i];
    c.event_callback_eip = v.pv.event_entry;
    c.failsafe_callback_eip = v.pv.failsafe_entry;
    c.syscall_callback_eip = v.pv.syscall_entry;
    c.kernel_ss = v.pv.kernel_ss, c.kernel_sp = v.pv.kernel_sp;
    c.gdt_ents = v.pv.gdt_entries;
    for (u32 i = 0; i < 14; ++i)
        c.gdt_frames[i] = v.pv.gdt_frames[i];
    c.ldt_base = v.pv.ldt_base, c.ldt_ents = v.pv.ldt_entries;
    c.ctrlreg[0] = v.pv.cr0, c.ctrlreg[4] = v.pv.cr4;
    c.ctrlreg[3] = xen_pfn_to_cr3(v.pv.kernel_root >> page_shift);
    c.ctrlreg[1] = v.pv.user_root ? xen_pfn_to_cr3(v.pv.user_root >> page_shift) : 0;
    c.fs_base = v.pv.fs_base, c.gs_base_kernel = v.pv.gs_base_kernel, c.gs_base_user = v.pv.gs_base_user;
    for (u32 i = 0; i < 8; ++i)
        c.debugreg[i] = v.pv.dr[i];
}

void fill_hypercall_page(u8* page) {
    for (u32 number = 0; number < page_size / 32; ++number) {
        u8* p = page + usize{32} * number;
        const u8 low[4] = {static_cast<u8>(number), 0, 0, 0};
        if (number == __HYPERVISOR_iret) {
            const u8 head[] = {0x51, 0x41, 0x53, 0x50, 0xb8}; // push rcx, r11, rax; mov eax
            __builtin_memcpy(p, head, sizeof head);
            __builtin_memcpy(p + 5, low, 4);
            p[9] = 0x0f, p[10] = 0x05; // syscall
            continue;
        }
        const u8 head[] = {0x51, 0x41, 0x53, 0xb8};             // push rcx, r11; mov eax
        const u8 tail[] = {0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3}; // syscall; pop r11, rcx; ret
        __builtin_memcpy(p, head, sizeof head);
        __builtin_memcpy(p + 4, low, 4);
        __builtin_memcpy(p + 8, tail, sizeof tail);
    }
}

} // namespace domus::hv
