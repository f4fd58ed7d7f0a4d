// Offsets of members that assembly uses. Compiled to assembly only; CMake turns the marked lines into asm_offsets.h.
#include "hypervisor/arch/x86_64/percpu.hpp"

#include <cstddef>

using namespace domus::hv;

#define EMIT(name, value) asm volatile("\n#OFFSET " #name " %c0" ::"i"(value))

void offsets() {
    EMIT(REGS_SIZE, sizeof(GuestRegs));
    EMIT(REGS_rax, offsetof(GuestRegs, rax));
    EMIT(REGS_rcx, offsetof(GuestRegs, rcx));
    EMIT(REGS_vector, offsetof(GuestRegs, vector));
    EMIT(REGS_error_code, offsetof(GuestRegs, error_code));
    EMIT(REGS_rip, offsetof(GuestRegs, rip));
    EMIT(REGS_cs, offsetof(GuestRegs, cs));
    EMIT(INFO_scratch, offsetof(arch::CpuInfo, scratch));
    EMIT(INFO_regs, offsetof(arch::CpuInfo, regs));
    EMIT(INFO_current, offsetof(arch::CpuInfo, current));
    EMIT(INFO_pending, offsetof(arch::CpuInfo, pending));
    EMIT(VCPU_in_kernel, offsetof(Vcpu, pv) + offsetof(PvState, in_kernel));
    EMIT(VCPU_info, offsetof(Vcpu, info));
    EMIT(VCPUINFO_upcall_pending, offsetof(vcpu_info_t, evtchn_upcall_pending));
    EMIT(VCPUINFO_upcall_mask, offsetof(vcpu_info_t, evtchn_upcall_mask));
}
