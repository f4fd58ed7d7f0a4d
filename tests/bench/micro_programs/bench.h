/* What the micro-benchmark's rows share. A row is a function that repeats its operation `n` times; main.c calls it for
 * several rounds and reports the best. Rows live in rows_*.c; main.c lists them. */
#ifndef DOMUS_BENCH_H
#define DOMUS_BENCH_H

#include <stddef.h>

struct row {
    const char* name;
    void (*run)(long n);     /* the operation, n times */
    long n;                  /* how often in one round */
    void (*set_up)(void);    /* before the rounds, or NULL */
    void (*tear_down)(void); /* after them, or NULL */
};

/* Each array ends with a row without name. */
extern const struct row rows_kernel[], rows_memory[], rows_process[];

/* Ends the program with a message when a call failed: a figure of something that did not happen is worth nothing. */
void need(int good, const char* what);

#endif
