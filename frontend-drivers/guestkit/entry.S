// Entry stubs of exceptions, events, failsafe and system calls, and the way back through the iret hypercall.
// Frames are those of 64-bit PV (<xen/arch-x86/xen-x86_64.h>): the hypervisor pushes ss, rsp, rflags, cs, rip,
// the error code where the vector has one, r11, rcx; failsafe also gs, fs, es, ds between.
// What C++ sees is guest::Frame (traps.hpp): keep both in step.
#define __ASSEMBLY__
#include <xen/xen.h>

    .text

.macro save_and_call handler
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r12
    push %r13
    push %r14
    push %r15
    push %rax            // vector, put in rax by the stub
    mov %rsp, %rdi
    mov %rsp, %rbp
    and $-16, %rsp
    cld
    call \handler
    mov %rbp, %rsp
    jmp restore_frame
.endm

    .globl restore_frame // rsp: a Frame to go back to
restore_frame:
    pop %rax             // vector
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rax
    pop %r11
    pop %rcx
    movq $0, (%rsp)      // error code's place: iret_context.flags, restore everything
    jmp hypercall_page + 32 * __HYPERVISOR_iret

// From [rcx, r11, (error), rip...] to [rax, r11, rcx, error, rip...]
.macro arrange has_error
    .if \has_error
    mov (%rsp), %rcx
    mov 8(%rsp), %r11
    mov %r11, (%rsp)
    mov %rcx, 8(%rsp)
    .else
    pop %rcx
    pop %r11
    push $0
    push %rcx
    push %r11
    .endif
    push %rax
.endm

vector_common:
    save_and_call guestkit_trap

// Vectors with an error code: 8, 10 to 14, 17, 21, 29, 30.
#define HAS_ERROR 0x60227d00
    .globl trap_stubs
    .balign 32
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 32
    .set has_error, 0
    .if vector < 32 // in a condition of its own: && looks at both sides, and a shift by more is warned of
    .set has_error, (HAS_ERROR >> vector) & 1
    .endif
    .if has_error
    arrange 1
    .else
    arrange 0
    .endif
    mov $vector, %eax
    jmp vector_common
    .set vector, vector + 1
    .endr

    .globl event_entry
event_entry:
    arrange 0
    mov $0x100, %eax
    save_and_call guestkit_event

    .globl syscall_entry
syscall_entry:
    arrange 0
    mov $0x101, %eax
    save_and_call guestkit_trap

    .globl failsafe_entry // [rcx, r11, ds, es, fs, gs, rip...]
failsafe_entry:
    pop %rcx
    pop %r11
    pop failsafe_selectors
    pop failsafe_selectors + 8
    pop failsafe_selectors + 16
    pop failsafe_selectors + 24
    push $0
    push %rcx
    push %r11
    push %rax
    mov $0x102, %eax
    save_and_call guestkit_trap

    .globl vcpu_entry // rdi: function, rsi: its argument; the stack is set up (smp.cpp)
vcpu_entry:
    xor %ebp, %ebp
    mov %rdi, %rax
    mov %rsi, %rdi
    call *%rax
    ud2

// Accesses that may fault. Result in rax: 0, or vector + 1 by the trap handler, which goes on at probe_done.
    .globl probe_start, probe_end, probe_done, probe_read, probe_write, probe_call
probe_start:
probe_read:              // rdi: address, rsi: where to put the value
    mov (%rdi), %rax
    mov %rax, (%rsi)
    xor %eax, %eax
    ret
probe_write:             // rdi: address, rsi: value
    mov %rsi, (%rdi)
    xor %eax, %eax
    ret
probe_end:
probe_done:
    ret

    .bss
    .globl failsafe_selectors
    .balign 8
failsafe_selectors:
    .skip 32
    .section .note.GNU-stack, "", @progbits
