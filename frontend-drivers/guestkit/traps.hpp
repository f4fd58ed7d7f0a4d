// Exceptions, system calls and failsafe of a mini guest.
// Handlers run on the stack of the vcpu, with events masked where the trap table says so.
#pragma once

#include "frontend-drivers/guestkit/hypercall.hpp"

namespace domus::guest {

// What entry.S saves; changed registers take effect at the return.
struct Frame {
    u64 vector;
    u64 r15, r14, r13, r12, r10, r9, r8, rdi, rsi, rbp, rbx, rdx;
    u64 rax, r11, rcx; // from here on: iret_context, with `error` in the place of its flags
    u64 error;
    u64 rip, cs, rflags, rsp, ss;
};

inline constexpr unsigned vector_event = 0x100, vector_syscall = 0x101, vector_failsafe = 0x102;
inline constexpr unsigned vector_count = 0x103;
inline constexpr u64 flag_interrupts = 0x200;

using TrapHandler = void (*)(Frame&);

// Handler of a vector (0 to 255, vector_syscall, vector_failsafe). Without one, a trap prints the frame and ends the
// guest with SHUTDOWN_crash.
void on_trap(unsigned vector, TrapHandler handler);

// Installs the trap table (int 3, int 4 and int 0x80 open to user mode) and the three callbacks, for this vcpu.
void install_traps();
void fill_trap_table(trap_info_t* table, unsigned room); // for vcpu_guest_context

// Memory accesses that may fault: 0, or vector + 1. The faulting frame is kept in last_fault.
unsigned try_read(const void* address, u64& value);
unsigned try_write(void* address, u64 value);
extern Frame last_fault;
u64 fault_address(); // CR2 of the last page fault, from vcpu_info

} // namespace domus::guest

extern "C" {
extern domus::u8 trap_stubs[256][32], event_entry[], syscall_entry[], failsafe_entry[];
extern domus::u64 failsafe_selectors[4]; // ds, es, fs, gs of the last failsafe callback
[[noreturn]] void restore_frame();
}
