/* The short way of a page fault of guest user mode into the guest kernel, without C++. Whatever is unusual goes to
 * trap_common as the stub of vector 14 does, where pv/traps.cpp does the same at length: a fault of the hypervisor's own
 * or of the guest kernel (a stray write, perhaps), pending work, events, no handler, an unhooked table anywhere (it may
 * be what the fault is about), a kernel stack out of range or one that faults.
 * On entry the CPU has filled CpuInfo::regs from the error code on; interrupts are off. The other slots keep what is used
 * here as a temporary: trap_common writes them all again. */
#include "asm_macros.h"
#include "hypervisor/arch/x86_64/layout.hpp"

#define FRAME_BYTES 64 /* rcx, r11, error code, rip, cs and mask, rflags, rsp, ss */

        .section .text.hot, "ax"

        .balign 16
        .globl fast_page_fault
fast_page_fault:
        testb $3, REGS_cs-REGS_error_code(%rsp)
        jz long_way
        sub $REGS_error_code, %rsp
        mov %rbx, SLOT(rbx)
        mov INFO(current), %rbx
        cmpb $0, VCPU_in_kernel(%rbx)
        jne leave_rbx
        mov %rax, SLOT(rax)
        mov %rdx, SLOT(rdx)
        mov %rdi, SLOT(rdi)
        FIND_KERNEL_STACK VCPU_page_fault_entry

/* The frame of bounce_to_guest(), in the guest kernel's address space. */
        mov %cr2, %rax
        mov %rax, VCPU_cr2(%rbx)
        mov %rax, VCPUINFO_cr2(%rdx)
        mov VCPU_kernel_root(%rbx), %rax
        TURN_TO 1, %rax
        PATCHABLE 1
        GUARDED undo, mov %rcx, -64(%rdi)
        GUARDED undo, mov %r11, -56(%rdi)
        mov SLOT(error_code), %eax
        or $PAGE_FAULT_USER, %eax
        GUARDED undo, mov %rax, -48(%rdi)
        mov SLOT(rip), %rax
        GUARDED undo, mov %rax, -40(%rdi)
        movzwl SLOT(cs), %eax
        GUARDED undo, mov %rax, -32(%rdi)
        mov SLOT(rflags), %rax /* IF is set in it: guests never run without */
        GUARDED undo, mov %rax, -24(%rdi)
        mov SLOT(rsp), %rax
        GUARDED undo, mov %rax, -16(%rdi)
        movzwl SLOT(ss), %eax
        GUARDED undo, mov %rax, -8(%rdi)
        PATCHABLE 0

        btl $TRAP_MASKS_EVENTS_BIT, VCPU_page_fault_flags(%rbx)
        setc VCPUINFO_upcall_mask(%rdx)
        mov VCPU_page_fault_entry(%rbx), %rax /* IRETQ judges it, and the selector: failed_iret */
        mov %rax, SLOT(rip)
        movzwl VCPU_page_fault_cs(%rbx), %eax
        or $3, %eax
        mov %rax, SLOT(cs)
        andq $~RFLAGS_CLEARED, SLOT(rflags)
        sub $FRAME_BYTES, %rdi
        mov %rdi, SLOT(rsp)
        movq $SELECTOR_USER_DATA, SLOT(ss)
        mov VCPU_domain(%rbx), %rdx
        incq DOMAIN_page_faults(%rdx)
        incq DOMAIN_guest_page_faults(%rdx)
        mov SLOT(rax), %rax
        mov SLOT(rbx), %rbx
        mov SLOT(rdx), %rdx
        mov SLOT(rdi), %rdi
        add $REGS_rip, %rsp
        GUARDED failed_iret, iretq

/* The kernel's stack does not take the frame: as if nothing had been, the fault's address included, for the crash message
 * of the long way. */
undo:   PATCHABLE 0
        mov VCPU_cr2(%rbx), %rax
        mov %rax, %cr2
        mov VCPU_user_root(%rbx), %rax
        TURN_TO 0, %rax
leave:  mov SLOT(rax), %rax
        mov SLOT(rdx), %rdx
        mov SLOT(rdi), %rdi
leave_rbx:
        mov SLOT(rbx), %rbx
        add $REGS_error_code, %rsp
long_way:
        movl $14, 4(%rsp)
        jmp trap_common
