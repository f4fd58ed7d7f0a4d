/* The micro-benchmark: one static program that runs natively and in guests, and tells nanoseconds per operation. Under
 * QEMU's -icount a nanosecond is an instruction. Started by tests/bench/part_micro.py in a RAM disk.
 *
 * usage: bench [ROW...]   prints `row NAME: NANOSECONDS` for each; a word that is in no row's name is an error
 *        bench marked ROW   one round of that row at a time between marks, for tests/bench/explain.py
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <time.h>
#include <unistd.h>

/* At least `least` rounds, and more of short ones: the best round is to be one that no timer tick fell into. */
enum { least = 9, most = 40 };
static const double enough = 100e6; /* ns */

void need(int good, const char* what) {
    if (good)
        return;
    perror(what);
    exit(2);
}

static double now(void) {
    struct timespec t;
    need(clock_gettime(CLOCK_MONOTONIC, &t) == 0, "clock_gettime");
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double measure(const struct row* row) {
    double best = 0, spent = 0;
    if (row->set_up)
        row->set_up();
    for (int round = 0; round < least || (round < most && spent < enough); ++round) {
        const double start = now();
        row->run(row->n);
        const double took = now() - start, each = took / (double)row->n;
        spent += took;
        if (round == 0 || each < best)
            best = each;
    }
    if (row->tear_down)
        row->tear_down();
    return best;
}

static const struct row* const all[] = {rows_kernel, rows_memory, rows_process};

/* Calls `use` for each row whose name contains `word`; how many there were. */
static int each_row(const char* word, void (*use)(const struct row*)) {
    int found = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; ++i) {
        for (const struct row* row = all[i]; row->name; ++row) {
            if (!strstr(row->name, word))
                continue;
            use(row);
            ++found;
        }
    }
    return found;
}

static void report(const struct row* row) {
    printf("row %s: %.1f\n", row->name, measure(row));
    fflush(stdout);
}

/* NOPs that plugin/count.c knows. */
static void mark_start(void) {
    __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00; .long 0x446f6d01" ::: "memory");
}
static void mark_stop(void) {
    __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00; .long 0x446f6d02" ::: "memory");
}

static void between_marks(const struct row* row) {
    if (row->set_up)
        row->set_up();
    row->run(row->n);
    for (int round = 0; round < least; ++round) {
        mark_start();
        row->run(row->n);
        mark_stop();
    }
    if (row->tear_down)
        row->tear_down();
    printf("marked %s: %ld\n", row->name, row->n);
    fflush(stdout);
}

/* Where mappings lie decides how many page tables they need: the same addresses every time. */
static void without_random_addresses(char** argv) {
    const int before = personality(0xffffffff);
    if (before & ADDR_NO_RANDOMIZE)
        return;
    need(personality((unsigned long)before | ADDR_NO_RANDOMIZE) >= 0, "personality");
    execv("/proc/self/exe", argv);
    need(0, "execv");
}

int main(int argc, char** argv) {
    without_random_addresses(argv);
    if (argc == 3 && strcmp(argv[1], "marked") == 0)
        return each_row(argv[2], between_marks) ? 0 : 2;
    if (argc == 1)
        each_row("", report);
    for (int i = 1; i < argc; ++i) {
        if (each_row(argv[i], report) == 0) {
            fprintf(stderr, "bench: no row is named like %s\n", argv[i]);
            return 2;
        }
    }
    return 0;
}
