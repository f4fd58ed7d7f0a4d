// ELF notes (<xen/elfnote.h>) and the first instructions of a mini guest.
// Entry state (<xen/xen.h>, start-of-day): rsi = start_info, rsp = bootstrap stack, events masked, ring 3.
#define __ASSEMBLY__
#include <xen/elfnote.h>

.macro note type, kind:req, value:vararg
    .pushsection .note.Xen, "a", @note
    .balign 4
    .long 4, 2f - 1f, \type
    .asciz "Xen"
1:  \kind \value
2:  .balign 4
    .popsection
.endm

    note XEN_ELFNOTE_GUEST_OS, .asciz, "guestkit"
    note XEN_ELFNOTE_GUEST_VERSION, .asciz, "1"
    note XEN_ELFNOTE_XEN_VERSION, .asciz, "xen-3.0"
    note XEN_ELFNOTE_LOADER, .asciz, "generic"
    note XEN_ELFNOTE_PAE_MODE, .asciz, "yes"
    note XEN_ELFNOTE_VIRT_BASE, .quad, virt_base
    note XEN_ELFNOTE_PADDR_OFFSET, .quad, 0
    note XEN_ELFNOTE_ENTRY, .quad, _start
    note XEN_ELFNOTE_HYPERCALL_PAGE, .quad, hypercall_page
    note XEN_ELFNOTE_HV_START_LOW, .quad, 0xffff800000000000
    note XEN_ELFNOTE_FEATURES, .asciz, "!writable_page_tables|pae_pgdir_above_4gb"
    // writable_page_tables, dom0, linux_rsdp_unrestricted: as Linux says it, so that it may be dom0
    note XEN_ELFNOTE_SUPPORTED_FEATURES, .long, 0x8801

    .section .text.hypercall_page, "ax"
    .globl hypercall_page
    .balign 4096
hypercall_page:
    .skip 4096 // the hypervisor writes 128 stubs of 32 bytes here

    .text
    .globl _start
_start:
    cld
    xor %ebp, %ebp
    lea boot_stack_top(%rip), %rsp
    mov %rsi, %rdi
    call guestkit_start
    ud2

    .bss
    .globl boot_stack_top
    .balign 16384 // start.hpp: vcpu stacks are found by their alignment
    .skip 16384
boot_stack_top:
    .section .note.GNU-stack, "", @progbits
