/* SPDX-License-Identifier: MIT */
/*
 * What Domus adds to Xen's interface. Announced in CPUID leaf 0x40000100; called by hypercall __HYPERVISOR_arch_7 (55):
 * rdi = DOMUS_EXT_*, rsi = address of the argument. A guest that does not look never notices. docs/abi-extensions.md.
 * Plain C; usable from kernels, tools and the hypervisor. All fields are little-endian, all padding is zero.
 */
#ifndef DOMUS_PUBLIC_DOMUS_H
#define DOMUS_PUBLIC_DOMUS_H

#include <stdint.h>

#define DOMUS_HYPERCALL 55

/* Returns the version of this interface (1). No argument. Anybody. */
#define DOMUS_EXT_version 0
#define DOMUS_EXT_INTERFACE_VERSION 1

/*
 * Read the counters of a domain, or of the machine. Argument: struct domus_read_counters. dom0 only (another domain
 * may read its own). Errors: -EPERM, -ESRCH, -EFAULT, -EINVAL (unknown flags).
 */
#define DOMUS_EXT_read_counters 1

#define DOMUS_COUNTERS_MACHINE 0x7FF2 /* domid: the whole machine since start, dead domains included */

#define DOMUS_COUNTER_count 0     /* what happened: page faults, context switches, refused operations ... */
#define DOMUS_COUNTER_trap 1      /* traps by name */
#define DOMUS_COUNTER_hypercall 2 /* hypercalls by name */

struct domus_counter {
    uint64_t value;
    uint8_t kind; /* DOMUS_COUNTER_* */
    uint8_t pad[7];
    char name[48]; /* zero-padded, always terminated */
};

struct domus_read_counters {
    uint16_t domid; /* IN: a domain, DOMID_SELF or DOMUS_COUNTERS_MACHINE */
    uint16_t flags; /* IN: 0 */
    uint32_t
        count; /* IN: room in `counters`; OUT: how many counters there are (more than the room: the rest was cut) */
    uint64_t counters; /* IN: address of an array of struct domus_counter; 0: only ask for the count */
};

/*
 * Features: edx of CPUID leaf 0x40000101, one bit each. What is not announced answers -ENOSYS. The hypervisor's option
 * extension=BITS announces fewer.
 */
#define DOMUS_FEATURE_ranges 0x1u     /* DOMUS_EXT_protect */
#define DOMUS_FEATURE_tables 0x2u     /* DOMUS_EXT_pin_tables, DOMUS_EXT_unpin_tables */
#define DOMUS_FEATURE_superpages 0x4u /* see below */
#define DOMUS_FEATURE_maps 0x8u       /* DOMUS_EXT_map */

/*
 * A run of entries of one L1 table of the caller's. rsi = machine address of the first, rdx = how many (within the
 * table), r10 = bits to clear, then r8 = bits to set, in each entry that is present; accessed and dirty bits that the
 * processor sets meanwhile are kept. Bits: writable, user, accessed, dirty, no-execute, and those for software (9..11,
 * 52..62). The rules for each entry are those of mmu_update; translations are not flushed. Returns 0, or -EINVAL:
 * refused at some entry, those before it are done. Operation 3 (clear) is no more.
 */
#define DOMUS_EXT_protect 2

/*
 * A list of page tables. rsi = address of uint64_t[rdx], at most 4096; each the page-aligned address of a mapping of a
 * page of the caller's, plus the level to pin it as (1..4; 0: not pinned itself, a table inside the tree). r10 = 0.
 * pin_tables: takes the write permission from every mapping, then pins. unpin_tables: unpins, then gives it back.
 * Errors as of MMUEXT_PIN_*_TABLE and update_va_mapping; what was done before one stays.
 */
#define DOMUS_EXT_pin_tables 4
#define DOMUS_EXT_unpin_tables 5

/*
 * New contents of a run of entries of one L1 table of the caller's. rsi = machine address of the first, rdx = how many
 * (within the table), r10 = address of uint64_t[rdx]. The rules for each entry, and what it replaces, are those of
 * mmu_update; translations are not flushed. Returns 0, -EINVAL: refused at some entry, those before it are done, or
 * -EFAULT.
 */
#define DOMUS_EXT_map 6

/*
 * DOMUS_FEATURE_superpages is no sub-operation: an entry of an L2 table may have bit 7 (PSE) and then maps 2 MiB. Its
 * frame is a multiple of 512 and all 512 are RAM of the caller's own, none of them a page or descriptor table if the
 * entry allows writing; no cache attributes. Where it is not announced such an entry is refused with -EINVAL.
 */

#endif /* DOMUS_PUBLIC_DOMUS_H */
