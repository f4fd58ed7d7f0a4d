// Per-CPU state at the top of each CPU's stack block. Owner: that CPU; `pending` is also set by others.
#pragma once

#include "hypervisor/arch/x86_64/layout.hpp"
#include "hypervisor/core/vcpu.hpp"

#include <atomic>

namespace domus::hv::arch {

// Why a CPU must take the slow way out to the guest.
enum Pending : u32 {
    pending_timer = 1,    // the APIC timer fired: run_due_timers()
    pending_schedule = 2, // choose_next()
    pending_console = 4,  // the serial line has input
    pending_event = 8,    // the current vcpu got an event (kick)
    pending_vectors = 16, // physical interrupts wait in `vectors`
    pending_nmi = 32,
};

struct alignas(16) CpuInfo {
    u64 scratch;    // SYSCALL stub: the guest's rax
    GuestRegs regs; // the guest's registers; RSP0 is its end
    Vcpu* current;
    std::atomic<u32> pending;
    u32 cpu;
    u32 held_ranks[12]; // lock order check
    u32 held_count;
    Vcpu* fpu_owner; // whose FPU state is in the registers
    u64 root;        // CR3 as loaded
    u64 vectors[4];  // noted physical interrupts
    Vcpu* idle;
    u64 slice_end;
};
static_assert(sizeof(CpuInfo) <= CPU_INFO_SIZE);
static_assert((offsetof(CpuInfo, regs) + sizeof(GuestRegs)) % 16 == 0);

inline CpuInfo& cpu_info() {
    u64 sp;
    asm("mov %%rsp, %0" : "=r"(sp));
    return *reinterpret_cast<CpuInfo*>((sp & ~u64{CPU_BLOCK_SIZE - 1}) + CPU_BLOCK_SIZE - CPU_INFO_SIZE);
}
CpuInfo* cpu_info_of(CpuId); // nullptr: no such CPU

} // namespace domus::hv::arch
