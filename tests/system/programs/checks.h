/* What the programs that run in guests share: ending at the first thing that is wrong, and the same numbers each time. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline void need(int good, const char* what) {
    if (good)
        return;
    perror(what);
    exit(1);
}

static uint64_t state = 88172645463325252u;
static inline uint64_t number(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}
