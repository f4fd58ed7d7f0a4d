// A virtual CPU: what the guest sees of it (plain data that pv/ interprets) and what the scheduler needs.
// Owner: Domain. The guest-visible state belongs to the CPU the vcpu runs on, or to whoever paused it.
#pragma once

#include "hypervisor/abi/xen.hpp"
#include "hypervisor/arch/iface/cpu.hpp"
#include "hypervisor/core/sched_unit.hpp"
#include "hypervisor/core/timer.hpp"

#include <array>
#include <atomic>

namespace domus::hv {

struct Domain;

// General registers as entry.S pushes them; the order is the push order. `vector` is the trap that came in.
struct GuestRegs {
    u64 r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    u32 error_code, vector;
    u64 rip, cs, rflags, rsp, ss;
};
static_assert(sizeof(GuestRegs) == 21 * sizeof(u64));

// CR4 as a guest sees it: PAE, OSFXSR, OSXMMEXCPT stand; OSXSAVE and the harmless rest it may set for itself.
inline constexpr u64 guest_cr4_initial = 0x620;
inline constexpr u64 guest_cr4_mask = 0x4072e;

// RFLAGS that a guest may give itself: CF PF AF ZF SF TF DF OF AC ID. IF and bit 1 are always set; IOPL, NT, RF, VM and
// the virtual interrupt flags never are.
inline constexpr u64 guest_rflags_mask = 0x240dd5;
inline constexpr u64 guest_rflags_forced = 0x202;
// RFLAGS that the guest kernel is entered without: TF, IOPL, NT, RF, VM, AC.
inline constexpr u64 rflags_cleared_on_entry = 1 << 8 | 3 << 12 | 1 << 14 | 1 << 16 | 1 << 17 | 1 << 18;

// Guest-visible state of a 64-bit PV vcpu.
struct PvState {
    // Hot: read and written on every crossing.
    u64 kernel_sp = 0;      // stack_switch: where a bounce from user mode pushes
    u64 syscall_entry = 0;  // callback_op / vcpu context: CALLBACKTYPE_syscall
    u64 event_entry = 0;    // CALLBACKTYPE_event
    u64 failsafe_entry = 0; // CALLBACKTYPE_failsafe
    u64 kernel_root = 0;    // CR3 value (machine address of the L4) in kernel mode
    u64 user_root = 0;      // CR3 value in user mode, 0: none given
    u64 kernel_ss = 0;
    bool in_kernel = true;              // TF_kernel_mode
    bool syscall_masks_events = false;  // VGCF_syscall_disables_events
    bool failsafe_masks_events = false; // VGCF_failsafe_disables_events
    bool fpu_dirty = false;             // the guest used the FPU since it was last saved
    bool task_switched = false;         // guest CR0.TS

    u64 fs_base = 0, gs_base_kernel = 0, gs_base_user = 0; // valid while not running
    u16 ds = 0, es = 0, fs = 0, gs = 0;                    // valid while not running

    std::array<trap_info_t, 256> traps{};
    u64 sysenter_entry = 0, syscall32_entry = 0;
    u16 sysenter_cs = 0, syscall32_cs = 0;
    bool syscall32_masks_events = false, sysenter_masks_events = false;
    u64 nmi_entry = 0;

    std::array<u64, 16> gdt_frames{}; // machine frames of the guest's part of the GDT, 14 at most
    std::array<u64, 16> ldt_frames{}; // and of its LDT; both typed Segments while they stand here
    u32 gdt_entries = 0;
    u64 ldt_base = 0;
    u32 ldt_entries = 0;

    u64 cr0 = 0x80050033, cr2 = 0, cr4 = guest_cr4_initial;
    std::array<u64, 8> dr{}; // dr6 and dr7 at 6 and 7
    u8 iopl = 0;
    u64 io_bitmap = 0; // guest virtual address
    u32 io_ports = 0;

    // A page table whose type this vcpu gave back and whose devalidation had to stop half-way (pv/page_types.hpp):
    // page-table hypercalls finish it before they do anything else.
    Mfn unfinished_table = invalid_mfn;

    // Stray writes (pv/unhooked.hpp): the table of the last one and how many came in a row; where the last unhooked
    // table was hooked.
    Mfn stray_table = invalid_mfn;
    Mfn last_hook_table = invalid_mfn;
    i32 stray_count = 0;
    u32 last_hook_index = 0;
};

struct Vcpu {
    Vcpu(Domain& d, VcpuId i) : domain(d), id(i) {}

    // Offsets of members are used by assembly (arch/x86_64/offsets.cpp); `id` stays right behind `domain`.
    GuestRegs regs{}; // while it does not run; else on the CPU's stack: running_regs()
    PvState pv{};

    Domain& domain;
    const VcpuId id;
    bool is_idle = false;
    bool initialised = false;      // VCPUOP_initialise or setvcpucontext happened
    vcpu_info_t* info = nullptr;   // in shared_info, or where register_vcpu_info put it
    Mfn info_frame = invalid_mfn;  // the frame register_vcpu_info holds
    u8* fpu_area = nullptr;        // XSAVE image, page-sized
    u32 window = 0;                // index of its GDT and LDT window (arch/x86_64/descriptors)
    std::atomic<u32> processor{0}; // CPU it runs on or ran on last
    std::atomic<bool> running{false};

    SchedUnit sched;
    Timer singleshot_timer{};      // VIRQ_TIMER once: set_timer_op, VCPUOP_set_singleshot_timer
    Timer periodic_timer{};        // VIRQ_TIMER while it runs
    Timer poll_timer{};            // time limit of sched_op poll
    u64 periodic_period = 0;       // ns, 0: off
    u64 periodic_last = 0;         // system time of the last tick
    std::atomic<u64> poll_port{0}; // sched_op poll: the one port, ~0 for several, 0: does not poll
    u32 virq_port[NR_VIRQS] = {};  // event channel of each per-vcpu virq, 0: none (Rank::Events)

    vcpu_runstate_info_t runstate{};
    u64 runstate_guest = 0;   // guest address of its copy, 0: none
    u64 time_info_guest = 0;  // secondary vcpu_time_info, 0: none
    u64 time_stamp = ~u64{0}; // calibration (TscScale::tsc_timestamp) that its clock page shows
    std::atomic<bool> nmi_pending{false};
};

inline Vcpu& current() {
    return arch::current_vcpu();
}

} // namespace domus::hv
