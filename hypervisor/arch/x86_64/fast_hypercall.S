/* The short way of a hypercall: the handler is called with what it needs, and the guest goes on by SYSRET. Only the
 * registers that C++ may change are saved, and those in the order of `struct Call`. Which hypercalls: `short_hypercalls`
 * (boot/hypercall_table.cpp), those of any guest that do not look at the guest's other registers. What is unusual takes
 * the long way (syscall_entry, pv/traps.cpp: guest_hypercall): no such hypercall, an unhooked table, a return address that
 * is not in the upper half. What becomes unusual while it runs (it is to be run again, an event came, other work waits)
 * leaves as a long one does: all registers are put where return_to_guest expects them.
 * On entry as in fast_entry.S: guest rax in CpuInfo::scratch, guest rsp in rax; rsp at CpuInfo::regs, guest rbx in its
 * slot and the vcpu in rbx. While the handler runs, CpuInfo::regs holds rip, rsp and rflags of the guest, for its log. */
#include "asm_macros.h"
#include "asm_offsets.h"
#include "hypervisor/arch/x86_64/layout.hpp"

#define BELOW 72 /* a Call, and what keeps the stack aligned */
#define TO_REGISTERS 24 /* of BELOW: the padding, Call::vcpu, Call::domain */

        .macro POP_ARGUMENTS
        add $TO_REGISTERS, %rsp
        pop %rdi
        pop %rsi
        pop %rdx
        pop %r10
        pop %r8
        pop %r9
        .endm

        .section .text.hot, "ax"

        .balign 16
        .globl short_hypercall
short_hypercall:
        cmpl $0, unhooked_tables(%rip)
        jne syscall_long_way
        cmp lowest_return(%rip), %rcx /* SYSRET with an address that is not canonical would fault in ring 0 */
        jb syscall_long_way
        mov %rcx, SLOT(rip)
        mov INFO(scratch), %ecx
        cmp $SHORT_HYPERCALLS, %ecx
        jae not_short
        mov %r11, SLOT(rflags)
        lea short_hypercalls(%rip), %r11
        mov (%r11, %rcx, 8), %r11
        test %r11, %r11
        jz not_short_either
        mov %rax, SLOT(rsp)
        mov %rcx, SLOT(rax) /* the pushes go over `scratch` */
        mov VCPU_domain(%rbx), %rax
        incq DOMAIN_hypercalls(%rax, %rcx, 8)
        push %r9
        push %r8
        push %r10
        push %rdx
        push %rsi
        push %rdi
        push %rax
        push %rbx
        mov %rsp, %rdi
        sub $8, %rsp
        call *%r11
        test %dl, %dl /* Result<i64>: rax the value or the error, dl which of them */
        jz failed
done:   cmpl $0, BELOW+INFO(pending)
        jne leave_slowly
        mov VCPU_info(%rbx), %rcx
        cmpb $0, VCPUINFO_upcall_pending(%rcx)
        jne event
leave:  POP_ARGUMENTS
        mov SLOT(rip), %rcx
        mov SLOT(rflags), %r11
        mov SLOT(rbx), %rbx
        mov SLOT(rsp), %rsp
        sysretq

event:  cmpb $0, VCPUINFO_upcall_mask(%rcx)
        jne leave
        jmp leave_slowly
failed: movslq %eax, %rax
        cmp $ERROR_RESTART, %eax
        je restart
        neg %rax
        jmp done
restart: /* SYSCALL again, with the arguments as the handler left them */
        mov BELOW+SLOT(rax), %rax
        subq $2, BELOW+SLOT(rip)
leave_slowly:
        POP_ARGUMENTS
        mov %rax, SLOT(rax)
        mov %rdi, SLOT(rdi)
        mov %rsi, SLOT(rsi)
        mov %rdx, SLOT(rdx)
        mov %r10, SLOT(r10)
        mov %r8, SLOT(r8)
        mov %r9, SLOT(r9)
        mov %rbp, SLOT(rbp)
        mov %r12, SLOT(r12)
        mov %r13, SLOT(r13)
        mov %r14, SLOT(r14)
        mov %r15, SLOT(r15)
        mov SLOT(rip), %rcx
        mov %rcx, SLOT(rcx)
        mov SLOT(rflags), %rcx
        mov %rcx, SLOT(r11)
        movabs $VECTOR_OF_SYSCALL << 32, %rcx /* and error code 0 */
        mov %rcx, SLOT(error_code)
        movq $SELECTOR_USER_CODE64, SLOT(cs)
        movq $SELECTOR_USER_DATA, SLOT(ss)
        sub $8, %rsp
        jmp return_to_guest

not_short_either:
        mov SLOT(rflags), %r11
not_short:
        mov SLOT(rip), %rcx
        jmp syscall_long_way

        .section .rodata
        .balign 8
lowest_return:
        .quad GUEST_HIGH_START
