/* What assembly files share: members of CpuInfo with rsp at its `regs`, guarded instructions, and code that exists only
 * where the CPU has SMAP. */
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

/* A three-byte NOP until patch_smap_instructions() writes STAC (kind 1) or CLAC (kind 0) over it. */
        .macro PATCHABLE kind
801:    .byte 0x0f, 0x1f, 0x00
        .pushsection .patches, "a"
        .quad 801b, \kind
        .popsection
        .endm
