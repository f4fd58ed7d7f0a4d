/* The two crossings that every guest makes all the time, without C++: a system call of guest user mode into the guest
 * kernel, and the iret hypercall. Other hypercalls go on in fast_hypercall.S. Whatever is unusual goes to syscall_entry
 * with all registers as they came in, where pv/traps.cpp and pv/iret.cpp do the same at length: pending work, events, no
 * handler, a frame that is out of range or faults, an unhooked table anywhere. So whatever has to happen at a crossing sets
 * CpuInfo::pending, and needs no mention here.
 * On entry, as in entry.S: guest rax in CpuInfo::scratch, guest rsp in rax, rsp at the end of CpuInfo::regs. The slots of
 * CpuInfo::regs keep what is used here as a temporary: syscall_entry writes them all again. */
#include "asm_macros.h"
#include "hypervisor/arch/x86_64/layout.hpp"

#define BOUNCE_BYTES 56 /* rcx, r11, rip, cs and mask, rflags, rsp, ss */

/* Make room for the slots (a fault pushes its frame below them), keep rbx and find the vcpu; the flags say whether it is
 * in the guest kernel. */
        .macro FIND_VCPU
        sub $REGS_SIZE, %rsp
        mov %rbx, SLOT(rbx)
        mov INFO(current), %rbx
        cmpb $0, VCPU_in_kernel(%rbx)
        .endm

        .section .text.hot, "ax"

/* What the SYSCALL stub jumps to when not both are switched on (fast-syscall=0, fast-iret=0). */
        .balign 16
        .globl fast_entry_syscall
fast_entry_syscall:
        FIND_VCPU
        je from_user
        jmp short_hypercall
        .globl fast_entry_iret
fast_entry_iret:
        FIND_VCPU
        je leave_rbx
        jmp from_kernel
        .globl fast_entry_hypercall
fast_entry_hypercall:
        FIND_VCPU
        je leave_rbx
        jmp short_hypercall

        .balign 16
        .globl fast_entry
fast_entry:
        FIND_VCPU
        jne from_kernel

/* The frame of bounce_to_guest(), for an entry with no error code. */
from_user:
        mov %rdx, SLOT(rdx)
        mov %rdi, SLOT(rdi)
        FIND_KERNEL_STACK VCPU_syscall_entry
        mov VCPU_kernel_root(%rbx), %rdx
        TURN_TO 1, %rdx
        PATCHABLE 1
        GUARDED undo_bounce, mov %rcx, -56(%rdi)
        GUARDED undo_bounce, mov %r11, -48(%rdi)
        GUARDED undo_bounce, mov %rcx, -40(%rdi)
        GUARDED undo_bounce, movq $SELECTOR_USER_CODE64, -32(%rdi)
        GUARDED undo_bounce, mov %r11, -24(%rdi) /* IF is set in it: guests never run without */
        GUARDED undo_bounce, mov %rax, -16(%rdi)
        GUARDED undo_bounce, movq $SELECTOR_USER_DATA, -8(%rdi)
        PATCHABLE 0
        mov VCPU_info(%rbx), %rdx
        movzbl VCPU_syscall_masks_events(%rbx), %eax
        mov %al, VCPUINFO_upcall_mask(%rdx)
        mov VCPU_domain(%rbx), %rdx
        incq DOMAIN_system_calls(%rdx)
        sub $BOUNCE_BYTES, %rdi
        mov %rdi, SLOT(rsp)
        mov VCPU_syscall_entry(%rbx), %rcx /* canonical: judged when it was registered */
        and $~RFLAGS_CLEARED, %r11
        mov SLOT(rbx), %rbx
        mov SLOT(rdx), %rdx
        mov SLOT(rdi), %rdi
        mov INFO(scratch), %rax
        mov SLOT(rsp), %rsp
        sysretq

/* The kernel's stack does not take the frame: as if nothing had been, for the crash message of the long way. */
undo_bounce:
        PATCHABLE 0
        mov VCPU_user_root(%rbx), %rdx
        TURN_TO 0, %rdx
leave:
        mov SLOT(rdi), %rdi
        mov SLOT(rdx), %rdx
leave_rbx:
        .globl syscall_long_way /* only rbx is to be put back */
syscall_long_way:
        mov SLOT(rbx), %rbx
        add $REGS_SIZE, %rsp
        jmp syscall_entry

/* pv/iret.cpp, each word of the frame read once. Nothing changes before all of it is read and judged, except the mask,
 * which the long way sets again. */
        .balign 16
from_kernel:
        cmpl $HYPERCALL_iret, INFO(scratch)
        jne short_hypercall
        cmpl $0, INFO(pending)
        jne leave_rbx
        cmpl $0, unhooked_tables(%rip)
        jne leave_rbx
        cmp lowest_iret_frame(%rip), %rax
        jb leave_rbx
        cmp $-IRET_FRAME_SIZE, %rax
        ja leave_rbx
        mov %rdx, SLOT(rdx)
        mov %rdi, SLOT(rdi)
        mov %rcx, SLOT(rcx)
        mov %r11, SLOT(r11)
        PATCHABLE 1
        GUARDED undo_iret, mov IRET_FRAME_flags(%rax), %rdx
        test $IRET_IN_SYSCALL, %edx
        jnz undo_iret
        GUARDED undo_iret, mov IRET_FRAME_rflags(%rax), %edi
        mov VCPU_info(%rbx), %rdx
        bt $9, %edi
        setnc VCPUINFO_upcall_mask(%rdx)
        cmpb $0, VCPUINFO_upcall_pending(%rdx)
        jne undo_iret
        and $RFLAGS_GUEST, %edi
        or $RFLAGS_FORCED, %edi
        mov %rdi, SLOT(rflags)
        GUARDED undo_iret, mov IRET_FRAME_rip(%rax), %rdx /* IRETQ judges it, and the selectors: failed_iret */
        mov %rdx, SLOT(rip)
        GUARDED undo_iret, mov IRET_FRAME_rsp(%rax), %rdx
        mov %rdx, SLOT(rsp)
        GUARDED undo_iret, movzwl IRET_FRAME_ss(%rax), %edx
        or $3, %edx
        mov %rdx, SLOT(ss)
        GUARDED undo_iret, movzwl IRET_FRAME_cs(%rax), %edx
        mov %edx, %edi
        or $3, %edi
        mov %rdi, SLOT(cs)
        GUARDED undo_iret, mov IRET_FRAME_r11(%rax), %r11
        GUARDED undo_iret, mov IRET_FRAME_rcx(%rax), %rcx
        not %edx
        and $3, %edx
        jnz to_kernel
        mov VCPU_user_root(%rbx), %rdi
        test %rdi, %rdi
        jz undo_iret
        GUARDED undo_iret, mov IRET_FRAME_rax(%rax), %rax
        PATCHABLE 0
        TURN_TO 0, %rdi
leave_by_iret:
        mov VCPU_domain(%rbx), %rdx
        incq DOMAIN_iret_hypercalls(%rdx)
        mov SLOT(rbx), %rbx
        mov SLOT(rdx), %rdx
        mov SLOT(rdi), %rdi
        add $REGS_rip, %rsp
        GUARDED failed_iret, iretq
to_kernel:
        GUARDED undo_iret, mov IRET_FRAME_rax(%rax), %rax
        PATCHABLE 0
        jmp leave_by_iret

undo_iret:
        PATCHABLE 0
        mov SLOT(rcx), %rcx
        mov SLOT(r11), %r11
        jmp leave

        .section .rodata
        .balign 8
        .globl lowest_bounce_stack
lowest_bounce_stack: /* so that the whole frame lies above the hypervisor, and does not wrap around */
        .quad GUEST_HIGH_START + 64
lowest_iret_frame:
        .quad GUEST_HIGH_START
