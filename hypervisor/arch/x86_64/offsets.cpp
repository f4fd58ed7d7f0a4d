// Offsets of members that assembly uses. Compiled to assembly only; CMake turns the marked lines into asm_offsets.h.
#include "hypervisor/arch/x86_64/percpu.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/hypercall.hpp"

#include <cstddef>

#pragma GCC diagnostic ignored "-Winvalid-offsetof" // both compilers lay classes without bases out as plain ones

using namespace domus;
using namespace domus::hv;

#define EMIT(name, value) asm volatile("\n#OFFSET " #name " %c0" ::"i"(value))

// What fast_hypercall.S pushes and takes back.
static_assert(offsetof(Call, args) == 16 && sizeof(Call) == 64);
static_assert(sizeof(Result<i64>) == 16 && std::is_trivially_copyable_v<Result<i64>>);

void offsets() {
    EMIT(REGS_SIZE, sizeof(GuestRegs));
    EMIT(REGS_rax, offsetof(GuestRegs, rax));
    EMIT(REGS_rbx, offsetof(GuestRegs, rbx));
    EMIT(REGS_rcx, offsetof(GuestRegs, rcx));
    EMIT(REGS_rdx, offsetof(GuestRegs, rdx));
    EMIT(REGS_rdi, offsetof(GuestRegs, rdi));
    EMIT(REGS_rsi, offsetof(GuestRegs, rsi));
    EMIT(REGS_rbp, offsetof(GuestRegs, rbp));
    EMIT(REGS_r8, offsetof(GuestRegs, r8));
    EMIT(REGS_r9, offsetof(GuestRegs, r9));
    EMIT(REGS_r10, offsetof(GuestRegs, r10));
    EMIT(REGS_r12, offsetof(GuestRegs, r12));
    EMIT(REGS_r13, offsetof(GuestRegs, r13));
    EMIT(REGS_r14, offsetof(GuestRegs, r14));
    EMIT(REGS_r15, offsetof(GuestRegs, r15));
    EMIT(REGS_r11, offsetof(GuestRegs, r11));
    EMIT(REGS_vector, offsetof(GuestRegs, vector));
    EMIT(REGS_error_code, offsetof(GuestRegs, error_code));
    EMIT(REGS_rip, offsetof(GuestRegs, rip));
    EMIT(REGS_cs, offsetof(GuestRegs, cs));
    EMIT(REGS_rflags, offsetof(GuestRegs, rflags));
    EMIT(REGS_rsp, offsetof(GuestRegs, rsp));
    EMIT(REGS_ss, offsetof(GuestRegs, ss));
    EMIT(INFO_scratch, offsetof(arch::CpuInfo, scratch));
    EMIT(INFO_regs, offsetof(arch::CpuInfo, regs));
    EMIT(INFO_current, offsetof(arch::CpuInfo, current));
    EMIT(INFO_pending, offsetof(arch::CpuInfo, pending));
    EMIT(INFO_root, offsetof(arch::CpuInfo, root));
    EMIT(VCPU_in_kernel, offsetof(Vcpu, pv) + offsetof(PvState, in_kernel));
    EMIT(VCPU_kernel_sp, offsetof(Vcpu, pv) + offsetof(PvState, kernel_sp));
    EMIT(VCPU_kernel_root, offsetof(Vcpu, pv) + offsetof(PvState, kernel_root));
    EMIT(VCPU_user_root, offsetof(Vcpu, pv) + offsetof(PvState, user_root));
    EMIT(VCPU_syscall_entry, offsetof(Vcpu, pv) + offsetof(PvState, syscall_entry));
    EMIT(VCPU_syscall_masks_events, offsetof(Vcpu, pv) + offsetof(PvState, syscall_masks_events));
    EMIT(VCPU_cr2, offsetof(Vcpu, pv) + offsetof(PvState, cr2));
    constexpr usize page_fault = offsetof(Vcpu, pv) + offsetof(PvState, traps) + 14 * sizeof(trap_info_t);
    EMIT(VCPU_page_fault_entry, page_fault + offsetof(trap_info_t, address));
    EMIT(VCPU_page_fault_cs, page_fault + offsetof(trap_info_t, cs));
    EMIT(VCPU_page_fault_flags, page_fault + offsetof(trap_info_t, flags));
    EMIT(TRAP_MASKS_EVENTS_BIT, 2);
    EMIT(PAGE_FAULT_USER, 4);
    EMIT(VCPU_domain, offsetof(Vcpu, id) - sizeof(Domain*)); // a reference has no offset, but lies right before
    EMIT(VCPU_info, offsetof(Vcpu, info));
    EMIT(VCPUINFO_upcall_pending, offsetof(vcpu_info_t, evtchn_upcall_pending));
    EMIT(VCPUINFO_cr2, offsetof(vcpu_info_t, arch) + offsetof(arch_vcpu_info_t, cr2));
    EMIT(VCPUINFO_upcall_mask, offsetof(vcpu_info_t, evtchn_upcall_mask));
    EMIT(DOMAIN_system_calls, offsetof(Domain, perf) + offsetof(PerfCounters, counts) +
                                  static_cast<usize>(Count::SystemCalls) * sizeof(u64));
    EMIT(DOMAIN_guest_page_faults, offsetof(Domain, perf) + offsetof(PerfCounters, counts) +
                                       static_cast<usize>(Count::GuestPageFaults) * sizeof(u64));
    EMIT(DOMAIN_page_faults, offsetof(Domain, perf) + offsetof(PerfCounters, traps) + 14 * sizeof(u64));
    EMIT(DOMAIN_iret_hypercalls,
         offsetof(Domain, perf) + offsetof(PerfCounters, hypercalls) + __HYPERVISOR_iret * sizeof(u64));
    EMIT(DOMAIN_hypercalls, offsetof(Domain, perf) + offsetof(PerfCounters, hypercalls));
    EMIT(SHORT_HYPERCALLS, hypercall_numbers);
    EMIT(ERROR_RESTART, Err::Restart);
    EMIT(VECTOR_OF_SYSCALL, 0x100); // above every real one
    EMIT(HYPERCALL_iret, __HYPERVISOR_iret);
    EMIT(IRET_FRAME_SIZE, sizeof(iret_context));
    EMIT(IRET_FRAME_rax, offsetof(iret_context, rax));
    EMIT(IRET_FRAME_r11, offsetof(iret_context, r11));
    EMIT(IRET_FRAME_rcx, offsetof(iret_context, rcx));
    EMIT(IRET_FRAME_flags, offsetof(iret_context, flags));
    EMIT(IRET_FRAME_rip, offsetof(iret_context, rip));
    EMIT(IRET_FRAME_cs, offsetof(iret_context, cs));
    EMIT(IRET_FRAME_rflags, offsetof(iret_context, rflags));
    EMIT(IRET_FRAME_rsp, offsetof(iret_context, rsp));
    EMIT(IRET_FRAME_ss, offsetof(iret_context, ss));
    EMIT(IRET_IN_SYSCALL, VGCF_in_syscall);
    EMIT(RFLAGS_GUEST, guest_rflags_mask);
    EMIT(RFLAGS_FORCED, guest_rflags_forced);
    EMIT(RFLAGS_CLEARED, rflags_cleared_on_entry);
}
