/* A TCG plugin that counts how often each instruction runs between two marks of the guest's, for explain.py. Several
 * windows may follow each other; the one with the fewest instructions counts (nothing else ran in it).
 *
 * Use: -plugin count.so,out=FILE[,windows=FILE]. The marks are NOPs of eight bytes (0f 1f 84 00, then a 32-bit number:
 * below). `windows` gets a line for each window, `INSTRUCTIONS KIND=COUNT ...`. `out`
 * holds lines `ADDRESS MEMORY FIRST COUNT KIND`: the hexadecimal address; where the instruction lies in the machine's
 * memory (in QEMU's terms: only differences mean something), so that equal addresses of two guests can be told apart;
 * its rank among all by the time it was first seen; KIND: `-`, or what the instruction does to the CPU's state.
 */
#include "qemu_plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { mark_start = 0x446f6d01, mark_stop = 0x446f6d02 };
enum { capacity = 1 << 21 };

struct place {
    uint64_t address, memory;
    uint32_t first;
    const char* kind;
};
static struct place places[capacity];
static uint64_t counts[capacity], at_start[capacity], best[capacity];
static uint64_t best_total = ~(uint64_t)0;
static size_t used;
static int open_window;
static const char *out, *windows;

EXPORT int qemu_plugin_version = 1;

/* The slot of an instruction: open addressing, never emptied. */
static size_t slot_of(uint64_t address, uint64_t memory) {
    size_t i = ((address ^ memory << 13) * 0x9e3779b97f4a7c15u) >> (64 - 21);
    while (places[i].kind && (places[i].address != address || places[i].memory != memory))
        i = (i + 1) % capacity;
    if (!places[i].kind) {
        if (++used > capacity / 4 * 3) {
            fprintf(stderr, "count: more instructions than places\n");
            exit(1);
        }
        places[i].address = address;
        places[i].memory = memory;
        places[i].first = (uint32_t)used;
    }
    return i;
}

static const char* const kinds[] = {"syscall", "sysret", "iret", "swapgs", "invlpg", "cr3", "cr4"};
enum { kind_count = sizeof kinds / sizeof *kinds };

/* One line more: what this window did to the CPU's state. */
static void tell_window(uint64_t total) {
    uint64_t of_kind[kind_count] = {0};
    FILE* file = fopen(windows, "a");
    if (!file)
        return perror(windows);
    for (size_t i = 0; i < capacity; ++i) {
        if (!places[i].kind || places[i].kind[0] == '-')
            continue;
        for (size_t kind = 0; kind < kind_count; ++kind) {
            if (strcmp(places[i].kind, kinds[kind]) == 0)
                of_kind[kind] += counts[i] - at_start[i];
        }
    }
    fprintf(file, "%llu", (unsigned long long)total);
    for (size_t kind = 0; kind < kind_count; ++kind)
        fprintf(file, " %s=%llu", kinds[kind], (unsigned long long)of_kind[kind]);
    fputc('\n', file);
    fclose(file);
}

static const char* kind_of(const uint8_t* code, size_t size) {
    if (size >= 2 && code[0] == 0x0f && code[1] == 0x05)
        return "syscall";
    if (size >= 3 && code[0] == 0x48 && code[1] == 0x0f && code[2] == 0x07)
        return "sysret";
    if (size >= 2 && code[0] == 0x48 && code[1] == 0xcf)
        return "iret";
    if (size >= 3 && code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xf8)
        return "swapgs";
    if (size >= 3 && code[0] == 0x0f && code[1] == 0x01 && (code[2] & 0x38) == 0x38 && code[2] < 0xc0)
        return "invlpg";
    if (size >= 3 && code[0] == 0x0f && code[1] == 0x22 && (code[2] & 0xf8) == 0xd8)
        return "cr3";
    if (size >= 3 && code[0] == 0x0f && code[1] == 0x22 && (code[2] & 0xf8) == 0xe0)
        return "cr4";
    return "-";
}

static void start(unsigned cpu, void* data) {
    (void)cpu, (void)data;
    memcpy(at_start, counts, sizeof counts);
    open_window = 1;
}

static void save(void) {
    FILE* file = fopen(out, "w");
    if (!file)
        return perror(out);
    for (size_t i = 0; i < capacity; ++i) {
        if (best[i])
            fprintf(file, "%llx %llx %u %llu %s\n", (unsigned long long)places[i].address,
                    (unsigned long long)places[i].memory, places[i].first, (unsigned long long)best[i], places[i].kind);
    }
    fclose(file);
}

static void stop(unsigned cpu, void* data) {
    (void)cpu, (void)data;
    uint64_t total = 0;
    if (!open_window)
        return;
    open_window = 0;
    for (size_t i = 0; i < capacity; ++i)
        total += counts[i] - at_start[i];
    if (windows)
        tell_window(total);
    if (total >= best_total)
        return;
    best_total = total;
    for (size_t i = 0; i < capacity; ++i)
        best[i] = counts[i] - at_start[i];
    save();
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
    (void)id;
    for (size_t n = qemu_plugin_tb_n_insns(block), i = 0; i < n; ++i) {
        struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(block, i);
        const uint8_t* code = qemu_plugin_insn_data(insn);
        const size_t size = qemu_plugin_insn_size(insn);
        const size_t slot = slot_of(qemu_plugin_insn_vaddr(insn), (uint64_t)(uintptr_t)qemu_plugin_insn_haddr(insn));
        uint32_t number = 0;
        places[slot].kind = kind_of(code, size);
        if (size == 8 && memcmp(code, "\x0f\x1f\x84\x00", 4) == 0)
            memcpy(&number, code + 4, sizeof number);
        if (number == mark_start)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, start, QEMU_PLUGIN_CB_NO_REGS, NULL);
        else if (number == mark_stop)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, stop, QEMU_PLUGIN_CB_NO_REGS, NULL);
        else
            qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, counts + slot, 1);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info* info, int argc, char** argv) {
    (void)info;
    for (int i = 0; i < argc; ++i) {
        if (strncmp(argv[i], "out=", 4) == 0)
            out = strdup(argv[i] + 4);
        if (strncmp(argv[i], "windows=", 8) == 0)
            windows = strdup(argv[i] + 8);
    }
    if (!out) {
        fprintf(stderr, "count: out=FILE is missing\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
