// Which vcpu is on the CPU: the slow way out to the guest, switching, idling. Owner: each CPU its own.
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/arch/x86_64/apic.hpp"
#include "hypervisor/arch/x86_64/cpu.hpp"
#include "hypervisor/arch/x86_64/fpu.hpp"
#include "hypervisor/arch/x86_64/paging.hpp"
#include "hypervisor/arch/x86_64/percpu.hpp"
#include "hypervisor/arch/x86_64/serial.hpp"
#include "hypervisor/core/console_io.hpp"
#include "hypervisor/core/console_ring.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/hypercall.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/teardown.hpp"
#include "hypervisor/core/timer.hpp"
#include "hypervisor/pv/unhooked.hpp"

extern "C" {
bool load_selector_ds(domus::u16);
bool load_selector_es(domus::u16);
bool load_selector_fs(domus::u16);
bool load_selector_gs(domus::u16);
[[noreturn]] void restart_exit_path(domus::hv::arch::CpuInfo*);
[[noreturn]] void restart_idle(domus::hv::arch::CpuInfo*);
}

namespace domus::hv::arch {
namespace {

u16 selector_ds() {
    u16 v;
    asm volatile("mov %%ds, %0" : "=r"(v));
    return v;
}
u16 selector_es() {
    u16 v;
    asm volatile("mov %%es, %0" : "=r"(v));
    return v;
}
u16 selector_fs() {
    u16 v;
    asm volatile("mov %%fs, %0" : "=r"(v));
    return v;
}
u16 selector_gs() {
    u16 v;
    asm volatile("mov %%gs, %0" : "=r"(v));
    return v;
}

void save_segments(PvState& s) {
    s.ds = selector_ds(), s.es = selector_es(), s.fs = selector_fs(), s.gs = selector_gs();
    s.fs_base = read_msr(msr::fs_base);
    const u64 active = read_msr(msr::gs_base), other = read_msr(msr::kernel_gs_base);
    s.gs_base_kernel = s.in_kernel ? active : other;
    s.gs_base_user = s.in_kernel ? other : active;
}

// Selectors first: loading one sets the base from the descriptor. A selector that is refused becomes null.
void load_segments(const PvState& s) {
    load_selector_ds(s.ds);
    load_selector_es(s.es);
    load_selector_fs(s.fs);
    load_selector_gs(s.gs);
    write_msr(msr::fs_base, s.fs_base);
    write_msr(msr::gs_base, s.in_kernel ? s.gs_base_kernel : s.gs_base_user);
    write_msr(msr::kernel_gs_base, s.in_kernel ? s.gs_base_user : s.gs_base_kernel);
}

void leave(Vcpu& from) {
    if (from.is_idle)
        return;
    from.regs = cpu_info().regs;
    save_segments(from.pv);
    fpu_switch_out();
}

void enter(Vcpu& to) {
    CpuInfo& cpu = cpu_info();
    if (to.is_idle)
        return;
    to.processor.store(cpu.cpu, std::memory_order_relaxed);
    const u64 root = to.pv.in_kernel ? to.pv.kernel_root : to.pv.user_root;
    to.domain.dirty_cpus.fetch_or(CpuMask{1} << cpu.cpu);
    if (cpu.root != root)
        load_root(frame_of(Maddr(root)));
    load_descriptor_tables(to);
    load_segments(to.pv);
    load_debug_registers(to);
    fpu_switch_in(to);
    cpu.regs = to.regs;
}

void switch_to(Vcpu& to) {
    CpuInfo& cpu = cpu_info();
    Vcpu& from = *cpu.current;
    if (&from == &to)
        return;
    prepare_switch_from(from);
    leave(from);
    cpu.current = &to;
    enter(to);
    from.running.store(false, std::memory_order_release); // pairs with wait_until_stopped()
    if (!to.is_idle)
        switched_in(to);
}

void do_pending(u32 pending) {
    if (pending & pending_console) {
        char c = 0;
        while (serial_read(c))
            console_input(c);
    }
    if (pending & pending_timer)
        run_due_timers();
    console_announce();
    reap_domains();
    if (pending & pending_nmi)
        log(Level::Warning, "NMI on cpu{}", cpu_info().cpu);
}

} // namespace

extern "C" void exit_work() {
    CpuInfo& cpu = cpu_info();
    if (const u32 pending = cpu.pending.exchange(0)) {
        do_pending(pending);
        if ((pending | cpu.pending.load(std::memory_order_relaxed)) & pending_schedule) {
            cpu.pending.fetch_and(~u32{pending_schedule});
            Vcpu& next = choose_next(*cpu.current);
            switch_to(next);
            if (next.is_idle)
                restart_idle(&cpu);
        }
        if (cpu.pending.load(std::memory_order_relaxed))
            return; // entry.S comes back
    }
    Vcpu& v = *cpu.current;
    if (v.nmi_pending.load(std::memory_order_relaxed))
        deliver_nmi(v, cpu.regs);
    if (v.info->evtchn_upcall_pending && !v.info->evtchn_upcall_mask)
        deliver_event(v, cpu.regs);
}

extern "C" void idle_loop() {
    CpuInfo& cpu = cpu_info();
    for (;;) {
        do_pending(cpu.pending.exchange(0));
        Vcpu& next = choose_next(*cpu.current);
        if (!next.is_idle) {
            switch_to(next);
            restart_exit_path(&cpu);
        }
        while (scrub_free_frames() && !must_yield()) {
        }
        if (cpu.pending.load() == 0)
            halt_until_interrupt();
    }
}

// --- arch/iface/cpu.hpp ---

CpuId this_cpu() {
    return CpuId(cpu_info().cpu);
}
u32 cpu_count() {
    return 1;
}
void relax() {
    pause();
}
Vcpu& current_vcpu() {
    return *cpu_info().current;
}
void kick(CpuId id) {
    if (CpuInfo* cpu = cpu_info_of(id))
        cpu->pending.fetch_or(pending_schedule);
}
void take_interrupts() {
    interrupts_on_once();
}
bool has_pending_work() {
    return cpu_info().pending.load(std::memory_order_relaxed) != 0;
}

#ifdef DOMUS_DEBUG
void rank_enter(Rank rank) {
    CpuInfo& cpu = cpu_info();
    if (cpu.held_count > 0 && cpu.held_ranks[cpu.held_count - 1] >= static_cast<u32>(rank))
        panic("lock order: rank {} taken while holding {}", rank, cpu.held_ranks[cpu.held_count - 1]);
    cpu.held_ranks[cpu.held_count++] = static_cast<u32>(rank);
}
void rank_leave(Rank) {
    --cpu_info().held_count;
}
#else
void rank_enter(Rank) {}
void rank_leave(Rank) {}
#endif

// --- arch/iface/context.hpp ---

GuestRegs& guest_regs(Vcpu& v) {
    CpuInfo& cpu = cpu_info();
    return cpu.current == &v ? cpu.regs : v.regs;
}
void swap_gs() {
    asm volatile("swapgs");
}
void set_fs_base(u64 v) {
    write_msr(msr::fs_base, v);
}
void set_gs_base(u64 v) {
    write_msr(msr::gs_base, v);
}
void set_other_gs_base(u64 v) {
    write_msr(msr::kernel_gs_base, v);
}
u64 fs_base() {
    return read_msr(msr::fs_base);
}
u64 gs_base() {
    return read_msr(msr::gs_base);
}
u64 other_gs_base() {
    return read_msr(msr::kernel_gs_base);
}
bool load_user_gs_selector(u16 selector) {
    swap_gs();
    const bool ok = load_selector_gs(selector);
    swap_gs();
    return ok;
}
u16 data_selector(char which) {
    return which == 'd' ? selector_ds() : which == 'e' ? selector_es() : which == 'f' ? selector_fs() : selector_gs();
}
void load_debug_registers(Vcpu& v) {
    constexpr u64 dr7_idle = 0x400;
    static constinit u64 loaded = dr7_idle;
    const u64 dr7 = v.pv.dr[7] | dr7_idle;
    if (dr7 == dr7_idle && loaded == dr7_idle)
        return;
    for (u32 i = 0; i < 4; ++i)
        write_dr(i, v.pv.dr[i]);
    write_dr(7, dr7);
    loaded = dr7;
}
u64 debug_status_and_clear() {
    const u64 status = read_dr(6);
    write_dr(6, dr6_idle);
    return status;
}
u64 fault_address() {
    return read_cr2();
}
u32 port_in(u16 port, u32 bytes) {
    return bytes == 1 ? in8(port) : bytes == 2 ? in16(port) : in32(port);
}
void port_out(u16 port, u32 bytes, u32 value) {
    if (bytes == 1)
        out8(port, static_cast<u8>(value));
    else if (bytes == 2)
        out16(port, static_cast<u16>(value));
    else
        out32(port, value);
}
CpuidResult machine_cpuid(u32 leaf, u32 subleaf) {
    const CpuidLeaf r = cpuid(leaf, subleaf);
    return {r.eax, r.ebx, r.ecx, r.edx};
}

bool byte_moves_are_fast() {
    static u8 from[page_size], to[page_size];
    u64 bytes = ~u64{0}, eights = ~u64{0};
    for (u32 i = 0; i < 16; ++i) { // the least of several: an interruption of a virtual CPU only adds
        const u64 start = read_tsc();
        move_bytes(to, from, page_size);
        const u64 middle = read_tsc();
        move_eights(to, from, page_size / 8);
        const u64 end = read_tsc();
        bytes = std::min(bytes, middle - start);
        eights = std::min(eights, end - middle);
    }
    return bytes <= 2 * eights;
}

extern "C" bool read_msr_guarded(u32 msr, u64* value);
Result<u64> read_guest_msr(u32 number) {
    u64 value = 0;
    if (!read_msr_guarded(number, &value))
        return Err::Inval;
    return value;
}

} // namespace domus::hv::arch
