/* What assembly files share: members of CpuInfo with rsp at its `regs`, guarded instructions, and code that exists only
 * where the CPU has SMAP. */
#include "asm_offsets.h"

/* clang-format off */

#define SLOT(name) REGS_##name(%rsp)
#define INFO(name) INFO_##name - INFO_regs(%rsp)

/* A fault of the instruction at `at` continues at `to` (traps.cpp looks it up). */
        .macro FIXUP at, to
        .pushsection .fixups, "a"
        .quad \at, \to
        .popsection
        .endm

        .macro GUARDED to, instruction:vararg
802:    \instruction
        FIXUP 802b, \to
        .endm

/* rdi: where the guest kernel's stack takes a frame, for a handler at `entry` (of the vcpu in rbx); rdx: its vcpu_info. To
 * `leave` if anything is unusual: work is pending, an unhooked table is about (core/guest_memory.hpp: what is written must
 * not go through one), an event waits or is masked (guest user mode runs unmasked), no handler, a stack out of range. The
 * range is judged as is_guest_range() does, in the upper half only: no kernel has its stack in the lower one. */
        .macro FIND_KERNEL_STACK entry
        cmpl $0, INFO(pending)
        jne leave
        cmpl $0, unhooked_tables(%rip)
        jne leave
        mov VCPU_info(%rbx), %rdx
        cmpw $0, VCPUINFO_upcall_pending(%rdx)
        jne leave
        mov VCPU_kernel_sp(%rbx), %rdi
        and $-16, %rdi
        cmp lowest_bounce_stack(%rip), %rdi
        jb leave
        cmpq $0, \entry(%rbx)
        je leave
        .endm

/* The vcpu in rbx turns to the other half of the guest; `root` is that half's. */
        .macro TURN_TO in_kernel, root
        movb $\in_kernel, VCPU_in_kernel(%rbx)
        mov \root, INFO(root)
        swapgs
        mov \root, %cr3
        .endm

/* A three-byte NOP until patch_smap_instructions() writes STAC (kind 1) or CLAC (kind 0) over it. */
        .macro PATCHABLE kind
801:    .byte 0x0f, 0x1f, 0x00
        .pushsection .patches, "a"
        .quad 801b, \kind
        .popsection
        .endm
