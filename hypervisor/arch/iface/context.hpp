// A vcpu on a CPU: what pv/ asks the machine to do with the state of the vcpu that runs here, and what the machine
// calls when a guest comes in. Implemented by arch/x86_64 (or tests/fake) and by pv/ respectively.
#pragma once

#include "hypervisor/base/result.hpp"
#include "hypervisor/core/vcpu.hpp"

#include <span>

namespace domus::hv::arch {

// The vcpu's general registers: on the CPU's stack while it runs here, else saved in it.
GuestRegs& guest_regs(Vcpu&);

// --- state of the vcpu that runs on this CPU ---
void swap_gs(); // kernel's and user's GS bases change places
void set_fs_base(u64);
void set_gs_base(u64);                    // the one in force
void set_other_gs_base(u64);              // the one not in force
bool load_user_gs_selector(u16 selector); // SEGBASE_GS_USER_SEL; false: refused, null was loaded
u64 fs_base();
u64 gs_base();
u64 other_gs_base();
u16 data_selector(char which);    // 'd', 'e', 'f', 'g': ds, es, fs, gs
void set_task_switched(bool);     // CR0.TS as the guest sees it
void load_debug_registers(Vcpu&); // dr0..3, dr6, dr7 (already judged)
u64 debug_status_and_clear();     // DR6
void set_xcr0(u64);               // judged by pv/emulate: what the manual allows of xcr0_allowed()
u64 xcr0();
u64 xcr0_allowed();
Result<u64> read_guest_msr(u32); // raw machine MSR by a guest's wish that pv/msr allowed
u64 fault_address();             // CR2

// --- descriptor windows ---
Result<u32> allocate_window(); // Err::NoMem
void free_window(u32);
void map_window_gdt(u32 window, u32 page, Mfn); // invalid_mfn: unmap
void map_window_ldt(u32 window, u32 page, Mfn);
void load_descriptor_tables(Vcpu&); // GDT and LDT registers of the vcpu that runs here

// --- FPU image, for new vcpus and setvcpucontext ---
Result<u8*> allocate_fpu_area(); // initial state
void free_fpu_area(Vcpu&);       // also forgets state that is still in the registers

// --- the machine for privileged guests ---
u32 port_in(u16 port, u32 bytes);
void port_out(u16 port, u32 bytes, u32 value);
struct CpuidResult {
    u32 eax, ebx, ecx, edx;
};
CpuidResult machine_cpuid(u32 leaf, u32 subleaf);
// Measured: copying a page byte by byte (`rep movsb`) takes about as long as in eights. What ERMS of CPUID promises; an
// emulator that executes the bytes one by one promises it too. Start-up.
bool byte_moves_are_fast();

} // namespace domus::hv::arch

namespace domus::hv {

// --- pv/ implements these; arch calls them with the guest's registers on the CPU's stack ---
void guest_trap(Vcpu&, GuestRegs&);          // an exception in guest mode
void guest_syscall(Vcpu&, GuestRegs&);       // SYSCALL from guest user mode
void guest_hypercall(Vcpu&, GuestRegs&);     // SYSCALL from the guest kernel
void guest_failed_return(Vcpu&, GuestRegs&); // IRETQ refused these registers
void deliver_event(Vcpu&, GuestRegs&);       // upcall pending and not masked
void deliver_nmi(Vcpu&, GuestRegs&);

} // namespace domus::hv
