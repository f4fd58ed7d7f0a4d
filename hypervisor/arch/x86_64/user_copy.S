/* Copies to and from the guest's address space. A fault ends the copy; the result is the number of bytes not done.
 * usize copy_bytes_guarded(void* to, const void* from, usize bytes);  usize clear_bytes_guarded(void* to, usize bytes);
 * STAC and CLAC are patched in where the CPU has SMAP. */
#include "asm_macros.h"

        .text
        .globl copy_bytes_guarded
copy_bytes_guarded:
        PATCHABLE 1
        mov %rdx, %rax
        mov %rdx, %rcx
        shr $3, %rcx
        and $7, %eax
1:      rep movsq
        mov %eax, %ecx
2:      rep movsb
        PATCHABLE 0
        mov %ecx, %eax
        ret
3:      shl $3, %rcx                    /* rcx words and eax bytes are left */
        add %rcx, %rax
        PATCHABLE 0
        ret
4:      PATCHABLE 0
        mov %ecx, %eax
        ret
        FIXUP 1b, 3b
        FIXUP 2b, 4b

        .globl clear_bytes_guarded
clear_bytes_guarded:
        PATCHABLE 1
        mov %rsi, %rcx
        mov %esi, %edx
        xor %eax, %eax
        shr $3, %rcx
        and $7, %edx
5:      rep stosq
        mov %edx, %ecx
6:      rep stosb
        PATCHABLE 0
        mov %ecx, %eax
        ret
7:      lea (%rdx, %rcx, 8), %rax       /* rcx words and edx bytes are left */
        PATCHABLE 0
        ret
8:      PATCHABLE 0
        mov %ecx, %eax
        ret
        FIXUP 5b, 7b
        FIXUP 6b, 8b

/* bool load_selector_guarded_{ds,es,fs,gs}(u16): false: the selector was refused and is now null. */
        .macro LOAD_SELECTOR register
        .globl load_selector_\register
load_selector_\register:
7:      mov %edi, %\register
        mov $1, %eax
        ret
8:      xor %eax, %eax
        mov %eax, %\register
        ret
        FIXUP 7b, 8b
        .endm
        LOAD_SELECTOR ds
        LOAD_SELECTOR es
        LOAD_SELECTOR fs
        LOAD_SELECTOR gs

/* bool read_msr_guarded(u32 msr, u64* value);  bool write_msr_guarded(u32 msr, u64 value); false: the CPU refused. */
        .globl read_msr_guarded
read_msr_guarded:
        mov %edi, %ecx
9:      rdmsr
        mov %eax, (%rsi)
        mov %edx, 4(%rsi)
        mov $1, %eax
        ret
10:     xor %eax, %eax
        ret
        FIXUP 9b, 10b
        .globl write_msr_guarded
write_msr_guarded:
        mov %edi, %ecx
        mov %esi, %eax
        mov %rsi, %rdx
        shr $32, %rdx
11:     wrmsr
        mov $1, %eax
        ret
12:     xor %eax, %eax
        ret
        FIXUP 11b, 12b

/* void* memcpy(to, from, n), memmove, memset, memcmp: the compiler calls them. */
        .globl memcpy
memcpy: mov %rdi, %rax
        mov %rdx, %rcx
        shr $3, %rcx
        rep movsq
        mov %edx, %ecx
        and $7, %ecx
        rep movsb
        ret
        .globl memmove
memmove:
        mov %rdi, %rax
        sub %rsi, %rax
        cmp %rdx, %rax
        jae memcpy
        lea -1(%rdi, %rdx), %rdi
        lea -1(%rsi, %rdx), %rsi
        mov %rdx, %rcx
        std
        rep movsb
        cld
        lea 1(%rdi), %rax
        ret
        .globl memset
memset: mov %rdi, %r8
        movzbl %sil, %eax
        movabs $0x0101010101010101, %rcx
        imul %rcx, %rax
        mov %rdx, %rcx
        shr $3, %rcx
        rep stosq
        mov %edx, %ecx
        and $7, %ecx
        rep stosb
        mov %r8, %rax
        ret
        .globl memcmp
memcmp: xor %eax, %eax
        mov %rdx, %rcx
        cmp %rax, %rax                  /* equal when there is nothing to compare */
        repe cmpsb
        je 13f
        movzbl -1(%rdi), %eax
        movzbl -1(%rsi), %ecx
        sub %ecx, %eax
13:     ret
