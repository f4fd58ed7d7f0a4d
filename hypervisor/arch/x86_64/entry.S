/* Every way into the hypervisor from a guest and back: SYSCALL, exceptions, interrupts, the return.
 * On entry from a guest all its registers lie in CpuInfo::regs at the top of the CPU's stack; interrupts stay off.
 * C++ handlers take GuestRegs& and return; return_to_guest decides whether there is work first. */
#include "asm_macros.h"
#include "asm_offsets.h"
#include "hypervisor/arch/x86_64/layout.hpp"

        .macro SAVE_GENERAL /* error code and vector are already pushed */
        push %rdi
        push %rsi
        push %rdx
        push %rcx
        push %rax
        push %r8
        push %r9
        push %r10
        push %r11
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
        .endm

        .macro RESTORE_GENERAL
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
        pop %r11
        pop %r10
        pop %r9
        pop %r8
        pop %rax
        pop %rcx
        pop %rdx
        pop %rsi
        pop %rdi
        .endm

        .section .text.hot, "ax"

/* SYSCALL, by way of the CPU's stub and of fast_entry.S, which keeps what is quickly done: guest rax in CpuInfo::scratch,
 * guest rsp in rax, rsp at the end of CpuInfo::regs. */
        .balign 16
        .globl syscall_entry
syscall_entry:
        pushq $SELECTOR_USER_DATA
        push %rax
        push %r11
        pushq $SELECTOR_USER_CODE64
        push %rcx
        pushq $0
        movl $VECTOR_OF_SYSCALL, 4(%rsp)
        push %rdi
        push %rsi
        push %rdx
        push %rcx
        mov INFO_scratch-INFO_regs-REGS_rcx(%rsp), %rax /* rsp is at regs.rcx here */
        push %rax
        push %r8
        push %r9
        push %r10
        push %r11
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
        mov %rsp, %rdi
        mov INFO_current-INFO_regs(%rsp), %rsi
        sub $8, %rsp
        cmpb $0, VCPU_in_kernel(%rsi)
        je 1f
        call on_hypercall
        jmp return_to_guest
1:      call on_guest_syscall
        jmp return_to_guest

/* Out to the guest whose registers lie in CpuInfo::regs; rsp is 8 below them. */
        .balign 16
        .globl return_to_guest
return_to_guest:
        mov INFO_current-INFO_regs+8(%rsp), %rbx
        cmpl $0, INFO_pending-INFO_regs+8(%rsp)
        jne 2f
        mov VCPU_info(%rbx), %rax
        cmpb $0, VCPUINFO_upcall_pending(%rax)
        jne 3f
1:      add $8, %rsp
        RESTORE_GENERAL
        add $8, %rsp
        .globl guest_iret
guest_iret:
        iretq
        FIXUP guest_iret, failed_iret
3:      cmpb $0, VCPUINFO_upcall_mask(%rax)
        jne 1b
2:      call exit_work
        jmp return_to_guest

/* IRETQ refused the guest's state: its general registers are in place again, rsp is where it was before IRETQ. */
        .globl failed_iret
failed_iret:
        pushq $0
        SAVE_GENERAL
        mov %rsp, %rdi
        sub $8, %rsp
        call on_failed_return
        jmp return_to_guest

/* A fresh start of the exit path (after a switch to another vcpu from the idle loop, or the first dom0 start). */
        .globl restart_exit_path
restart_exit_path:                      /* rdi: CpuInfo* */
        lea INFO_regs-8(%rdi), %rsp
        xor %ebp, %ebp
        jmp return_to_guest

        .globl restart_idle             /* rdi: CpuInfo*; the idle loop begins with an empty stack */
restart_idle:
        lea INFO_regs-8(%rdi), %rsp
        xor %ebp, %ebp
        call idle_loop
        ud2

        .globl continue_on_cpu_stack    /* rdi: CpuInfo*, rsi: a function that does not return, and that gets rdi and rdx */
continue_on_cpu_stack:
        lea INFO_regs-8(%rdi), %rsp
        xor %ebp, %ebp
        mov %rsi, %rax
        mov %rdx, %rsi
        call *%rax
        ud2

/* Exceptions and interrupts. Each vector has a 16-byte stub that pushes what common code needs. */
        .balign 16
        .globl trap_common
trap_common:                            /* vector and error code pushed */
        cld
        SAVE_GENERAL
        PATCHABLE 0
        mov %rsp, %rdi
        testb $3, REGS_cs(%rsp)
        jz 1f
        sub $8, %rsp
        call on_guest_trap
        jmp return_to_guest
1:      mov %rsp, %rbp                  /* from the hypervisor itself */
        and $-16, %rsp
        call on_hypervisor_trap
        mov %rbp, %rsp
        RESTORE_GENERAL
        add $8, %rsp
        iretq

/* NMI, #DF, #MC, #DB have stacks of their own; from a guest they move to the main stack first. */
        .balign 16
ist_common:
        cld
        SAVE_GENERAL
        PATCHABLE 0
        mov %rsp, %rdi
        testb $3, REGS_cs(%rsp)
        jz 1b
        mov %rsp, %rsi
        or $CPU_BLOCK_SIZE - 1, %rdi
        sub $CPU_INFO_SIZE - 1 - INFO_regs, %rdi
        mov %rdi, %rdx
        mov $REGS_SIZE / 8, %ecx
        rep movsq
        mov %rdx, %rdi
        lea -8(%rdx), %rsp
        call on_guest_trap
        jmp return_to_guest

        .macro TRAP_STUB vector
        .balign 16
        .if \vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17 || \vector == 21 || \vector == 29 || \vector == 30
        movl $\vector, 4(%rsp)
        .else
        pushq $0
        movl $\vector, 4(%rsp)
        .endif
        .if \vector == 1 || \vector == 2 || \vector == 8 || \vector == 18
        jmp ist_common
        .else
        jmp trap_common
        .endif
        .endm

        .balign 16
        .globl trap_stubs
trap_stubs:
        .set vector, 0
        .rept 256
        TRAP_STUB vector
        .set vector, vector + 1
        .endr
