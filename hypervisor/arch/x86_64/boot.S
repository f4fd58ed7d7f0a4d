/* From the boot loader to C++: multiboot 1 and 2 headers, 32-bit entry, long mode, jump to the high half.
 * Runs once on the boot CPU with paging off. Hands over: edi = loader's magic, esi = physical address of its information. */
#include "hypervisor/arch/x86_64/layout.hpp"

#define PHYS(symbol) (symbol - DOMUS_IMAGE_BASE)

        .section .boot.header, "a"
        .balign 8
multiboot1_header:                      /* the ELF32 wrapper tells where to load us: flags: align modules, memory map */
        .long 0x1badb002
        .long 0x00000003
        .long -(0x1badb002 + 0x00000003)
        .balign 8
multiboot2_header:
        .long 0xe85250d6
        .long 0
        .long multiboot2_end - multiboot2_header
        .long -(0xe85250d6 + multiboot2_end - multiboot2_header)
        .balign 8
        .short 6, 0                     /* modules page aligned */
        .long 8
        .balign 8
        .short 0, 0                     /* end */
        .long 8
multiboot2_end:

        .section .boot.text, "ax"
        .code32
        .globl boot_entry
boot_entry:
        cli
        cld
        mov %eax, %edi
        mov %ebx, %esi
        mov $PHYS(boot_stack_top), %esp

        mov $0x80000000, %eax           /* long mode? */
        cpuid
        cmp $0x80000001, %eax
        jb no_long_mode
        mov $0x80000001, %eax
        cpuid
        bt $29, %edx
        jnc no_long_mode

        /* Four L2 tables of 2 MiB pages map 0..4 GiB; seen at 0 (for this code), as the image and as the direct map. */
        mov $PHYS(boot_l2), %ebx
        mov $0x83, %eax                 /* present, writable, large */
        xor %ecx, %ecx
1:      mov %eax, (%ebx, %ecx, 8)
        movl $0, 4(%ebx, %ecx, 8)
        add $0x200000, %eax
        inc %ecx
        cmp $2048, %ecx
        jb 1b
        mov $PHYS(boot_l3), %ebx
        mov $PHYS(boot_l2) + 3, %eax
        xor %ecx, %ecx
2:      mov %eax, (%ebx, %ecx, 8)
        add $0x1000, %eax
        inc %ecx
        cmp $4, %ecx
        jb 2b
        mov $PHYS(boot_l4), %ebx
        mov $PHYS(boot_l3) + 3, %eax
        mov %eax, (%ebx)
        mov %eax, 257 * 8(%ebx)
        mov %eax, 262 * 8(%ebx)

        mov %cr4, %eax
        or $0x620, %eax                 /* PAE, OSFXSR, OSXMMEXCPT */
        mov %eax, %cr4
        mov %ebx, %cr3
        mov $0xc0000080, %ecx           /* EFER: SCE, LME, NXE */
        rdmsr
        or $0x901, %eax
        wrmsr
        mov $0x80010033, %eax           /* PG, WP, NE, ET, MP, PE */
        mov %eax, %cr0
        lgdt PHYS(boot_gdt_pointer)
        ljmp $8, $PHYS(long_mode)

no_long_mode:
        mov $PHYS(no_long_mode_text), %esi
3:      lodsb
        test %al, %al
        jz 5f
        mov %al, %ah
        mov $0x3fd, %dx
4:      in %dx, %al
        test $0x20, %al
        jz 4b
        mov $0x3f8, %dx
        mov %ah, %al
        out %al, %dx
        jmp 3b
5:      hlt
        jmp 5b

        .code64
long_mode:
        mov $16, %eax
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        movabs $6f, %rax
        jmp *%rax
6:      lea boot_stack_top(%rip), %rsp
        xor %ebp, %ebp
        mov %edi, %edi
        mov %esi, %esi
        call start_hypervisor
7:      hlt
        jmp 7b

        .section .boot.data, "a"
        .balign 8
boot_gdt:
        .quad 0
        .quad 0x00af9b000000ffff
        .quad 0x00cf93000000ffff
boot_gdt_pointer:
        .short . - boot_gdt - 1
        .long PHYS(boot_gdt)
no_long_mode_text:
        .asciz "\r\nDomus needs a 64-bit CPU (long mode); this one has none.\r\n"

        .section .bss.boot, "aw", @nobits
        .balign 4096
        .globl boot_l4
boot_l4:
        .skip 4096
boot_l3:
        .skip 4096
boot_l2:
        .skip 4 * 4096
        .balign 4096
        .skip 0x10000                   /* unpacking dom0's kernel wants some stack */
        .globl boot_stack_top
boot_stack_top:
