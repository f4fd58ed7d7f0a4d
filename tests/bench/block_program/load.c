/* Load on a block device, for part_block.py. Prints one line per kind, `load KIND: NANOSECONDS`, by the clock that
 * stands still for nobody. Static, without libraries: depth 32 is the kernel's own asynchronous interface (io_submit).
 * Run: load DEVICE MIB OPERATIONS [KIND]     with KIND only that one, several times between marks, for explain_block.py
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { page = 4096, mib = 1 << 20, depth = 32, rounds = 4 };

static const char *device, *only;
static char* buffer; /* one MiB, on a page */
static long megabytes, operations;

static void need(int good, const char* what) {
    if (!good) {
        fprintf(stderr, "load: %s of %s: %s\n", what, device, strerror(errno));
        exit(1);
    }
}

static int open_device(int flags) {
    const int file = open(device, flags);
    need(file >= 0, "open");
    need(ioctl(file, BLKFLSBUF, 0) == 0, "dropping the cache");
    return file;
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Always the same places, far apart. */
static uint64_t somewhere(void) {
    static uint32_t state = 20031019;
    state = state * 1664525u + 1013904223u;
    return (uint64_t)(state >> 8) % ((uint64_t)megabytes * (mib / page)) * page;
}

/* Through the page cache, as most programs do it. */
static void sequential(int writing) {
    const int file = open_device(writing ? O_WRONLY : O_RDONLY);
    for (long i = 0; i < megabytes; ++i) {
        need((writing ? write(file, buffer, mib) : read(file, buffer, mib)) == mib, "a sequential operation");
    }
    need(!writing || fsync(file) == 0, "fsync");
    close(file);
}

static void one_by_one(int writing) {
    const int file = open_device((writing ? O_WRONLY : O_RDONLY) | O_DIRECT);
    for (long i = 0; i < operations; ++i) {
        const off_t at = (off_t)somewhere();
        need((writing ? pwrite(file, buffer, page, at) : pread(file, buffer, page, at)) == page, "an operation");
    }
    close(file);
}

static void many(int writing) {
    const int file = open_device((writing ? O_WRONLY : O_RDONLY) | O_DIRECT);
    struct iocb blocks[depth], *list[depth];
    struct io_event events[depth];
    aio_context_t context = 0;
    memset(blocks, 0, sizeof blocks);
    need(syscall(SYS_io_setup, depth, &context) == 0, "io_setup");
    for (long i = 0; i < depth; ++i) {
        blocks[i].aio_fildes = (uint32_t)file;
        blocks[i].aio_lio_opcode = writing ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
        blocks[i].aio_buf = (uint64_t)(uintptr_t)(buffer + i * page);
        blocks[i].aio_nbytes = page;
        list[i] = &blocks[i];
    }
    long begun = 0, ready = depth, ended = 0;
    while (ended < operations) {
        long count = ready < operations - begun ? ready : operations - begun;
        for (long i = 0; i < count; ++i) {
            list[i]->aio_offset = (int64_t)somewhere();
        }
        need(count == 0 || syscall(SYS_io_submit, context, count, list) == count, "io_submit");
        begun += count;
        ready = syscall(SYS_io_getevents, context, 1, depth, events, NULL);
        need(ready > 0, "io_getevents");
        for (long i = 0; i < ready; ++i) {
            need(events[i].res == page, "an operation in a crowd");
            list[i] = (struct iocb*)(uintptr_t)events[i].obj;
        }
        ended += ready;
    }
    syscall(SYS_io_destroy, context);
    close(file);
}

/* For plugin/count.c. */
static void mark_start(void) {
    __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00; .long 0x446f6d01" ::: "memory");
}
static void mark_stop(void) {
    __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00; .long 0x446f6d02" ::: "memory");
}

static void measure(const char* kind, void (*run)(int), int writing) {
    if (only && strcmp(only, kind) != 0)
        return;
    for (int round = only ? 0 : rounds - 1; round < rounds; ++round) {
        const uint64_t begin = now();
        mark_start();
        run(writing);
        mark_stop();
        printf("load %s: %llu\n", kind, (unsigned long long)(now() - begin));
    }
}

int main(int argc, char** argv) {
    if (argc != 4 && argc != 5) {
        fputs("usage: load DEVICE MIB OPERATIONS [KIND]\n", stderr);
        return 2;
    }
    device = argv[1];
    only = argc == 5 ? argv[4] : NULL;
    megabytes = atol(argv[2]);
    operations = atol(argv[3]);
    buffer = aligned_alloc(page, mib);
    need(buffer != NULL, "memory");
    memset(buffer, 0x5a, mib);
    measure("sequential write", sequential, 1);
    measure("sequential read", sequential, 0);
    measure("single write", one_by_one, 1);
    measure("single read", one_by_one, 0);
    measure("crowd write", many, 1);
    measure("crowd read", many, 0);
    return 0;
}
