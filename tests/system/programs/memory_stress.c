/* Puts a kernel's memory management under stress and checks every byte: for test_memory.py, which runs it in a guest.
 * One static program; the same numbers each time.
 *
 * usage: memory_stress ROUNDS [SWAP-DEVICE]   prints `ok NAME` for each part; the first thing that is wrong ends it
 * with 1
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checks.h"

enum { page = 4096 };

static char* map(size_t pages) {
    char* p = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    need(p != MAP_FAILED, "mmap");
    return p;
}

/* A page's contents tell what was written there last: its tag in every word, mixed with the place. */
static void fill(char* p, uint64_t tag) {
    uint64_t* words = (uint64_t*)p;
    for (int i = 0; i < page / 8; ++i)
        words[i] = (tag + (uint64_t)i) * 0x9e3779b97f4a7c15u;
}
static void check(const char* p, uint64_t tag, const char* what) {
    const uint64_t* words = (const uint64_t*)p;
    for (int i = 0; i < page / 8; ++i) {
        if (words[i] == (tag + (uint64_t)i) * 0x9e3779b97f4a7c15u)
            continue;
        fprintf(stderr, "%s: word %d at %p is %llx, tag %llu\n", what, i, (const void*)p, (unsigned long long)words[i],
                (unsigned long long)tag);
        exit(1);
    }
}

static void collect(int children) {
    for (int status; children > 0; --children) {
        need(wait(&status) > 0, "wait");
        need(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child found something wrong");
    }
}

/* Children of children, each writing to half of what it inherited. */
static void fork_storm(long rounds) {
    enum { pages = 1200, at_once = 8 };
    char* area = map(pages);
    for (long i = 0; i < pages; ++i)
        fill(area + i * page, (uint64_t)i);
    for (long round = 0; round < rounds; ++round) {
        for (uint64_t child = 1; child <= at_once; ++child) {
            const pid_t pid = fork();
            need(pid >= 0, "fork");
            if (pid != 0)
                continue;
            state += child;
            for (long i = (long)(child % 2); i < pages; i += 2)
                fill(area + i * page, child << 32 | (uint64_t)i);
            const pid_t grandchild = fork();
            need(grandchild >= 0, "fork");
            if (grandchild == 0) {
                for (int i = 0; i < 100; ++i)
                    fill(area + number() % pages * page, 7);
                _exit(0);
            }
            for (long i = 0; i < pages; ++i)
                check(area + i * page, (uint64_t)(i % 2) == child % 2 ? child << 32 | (uint64_t)i : (uint64_t)i,
                      "child");
            collect(1);
            _exit(0);
        }
        const long changed = round % pages; /* while they run */
        check(area + changed * page, (uint64_t)changed, "parent");
        collect(at_once);
    }
    for (long i = 0; i < pages; ++i)
        check(area + i * page, (uint64_t)i, "parent, after its children");
    munmap(area, pages * page);
}

static sigjmp_buf refused;
static void on_fault(int signal) {
    (void)signal;
    siglongjmp(refused, 1);
}
static int may_write(volatile char* p) {
    if (sigsetjmp(refused, 1))
        return 0;
    *p = *p;
    return 1;
}
static int may_read(volatile char* p) {
    if (sigsetjmp(refused, 1))
        return 0;
    (void)*p;
    return 1;
}

static void protect_storm(long rounds) {
    enum { pages = 1500 };
    static unsigned char rights[pages];
    static const int of[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
    char* area = map(pages);
    for (long i = 0; i < pages; ++i)
        fill(area + i * page, (uint64_t)i), rights[i] = 2;
    signal(SIGSEGV, on_fault);
    for (long round = 0; round < rounds * 40; ++round) {
        const long first = (long)(number() % pages);
        const long count = 1 + (long)(number() % (uint64_t)(round % 8 == 0       ? pages - first
                                                            : 20 < pages - first ? 20
                                                                                 : pages - first));
        const unsigned char right = number() % 3;
        need(mprotect(area + first * page, (size_t)count * page, of[right]) == 0, "mprotect");
        memset(rights + first, right, (size_t)count);
        for (int probe = 0; probe < 10; ++probe) {
            const long i = probe < 3 ? first + (long)(number() % (uint64_t)count) : (long)(number() % pages);
            need(may_write(area + i * page + 8) == (rights[i] == 2), "a page that may be written, or not");
            need(may_read(area + i * page) == (rights[i] != 0), "a page that may be read, or not");
        }
    }
    need(mprotect(area, pages * page, PROT_READ) == 0, "mprotect");
    for (long i = 0; i < pages; ++i)
        check(area + i * page, (uint64_t)i, "after mprotect");
    signal(SIGSEGV, SIG_DFL);
    munmap(area, pages * page);
}

/* As many mappings as a process may have, nearly, taken away in another order. */
static void many_mappings(long rounds) {
    enum { mappings = 16000, sparse = 512 };
    for (long round = 0; round < 1 + rounds / 4; ++round) {
        char* area = map(mappings * 2);
        for (long i = 0; i < mappings; ++i)
            need(mprotect(area + i * 2 * page, page, i % 3 ? PROT_READ : PROT_NONE) == 0, "mprotect");
        for (long i = 0; i < mappings; i += sparse / 16)
            fill(area + (i * 2 + 1) * page, (uint64_t)i);
        for (long i = 0; i < mappings; ++i) {
            const long which = i * 7919 % mappings;
            if (which % sparse != 0)
                need(munmap(area + which * 2 * page, 2 * page) == 0, "munmap");
        }
        for (long i = 0; i < mappings; i += sparse)
            check(area + (i * 2 + 1) * page, (uint64_t)i, "what was not unmapped");
        munmap(area, mappings * 2 * page);
    }
}

static void move_storm(long rounds) {
    enum { areas = 24, longest = 96 };
    char* at[areas];
    size_t length[areas];
    for (int i = 0; i < areas; ++i) {
        at[i] = map(length[i] = 1 + number() % longest);
        for (size_t n = 0; n < length[i]; ++n)
            fill(at[i] + n * page, (uint64_t)i << 32 | n);
    }
    for (long round = 0; round < rounds * 60; ++round) {
        const int i = (int)(number() % areas);
        const size_t wanted = 1 + number() % longest;
        char* to = map(wanted);
        char* moved = mremap(at[i], length[i] * page, wanted * page, MREMAP_MAYMOVE | MREMAP_FIXED, to);
        need(moved == to, "mremap");
        for (size_t n = length[i]; n < wanted; ++n)
            fill(moved + n * page, (uint64_t)i << 32 | n);
        at[i] = moved, length[i] = wanted;
        for (size_t n = 0; n < wanted; ++n)
            check(moved + n * page, (uint64_t)i << 32 | n, "after mremap");
    }
    for (int i = 0; i < areas; ++i) {
        for (size_t n = 0; n < length[i]; ++n)
            check(at[i] + n * page, (uint64_t)i << 32 | n, "after all mremaps");
        munmap(at[i], length[i] * page);
    }
}

static void advice_storm(long rounds) {
    enum { pages = 1024 };
    static const char zeroes[page];
    static unsigned char there[pages];
    char* area = map(pages);
    for (long round = 0; round < rounds * 20; ++round) {
        const size_t first = number() % pages, count = 1 + number() % (pages - first);
        if (number() % 2) {
            need(madvise(area + first * page, count * page, MADV_DONTNEED) == 0, "madvise");
            memset(there + first, 0, count);
        } else {
            for (size_t i = first; i < first + count && i < first + 64; ++i)
                fill(area + i * page, i), there[i] = 1;
        }
        for (size_t i = (size_t)round % 16; i < pages; i += 16) {
            if (there[i])
                check(area + i * page, i, "after madvise");
            else
                need(memcmp(area + i * page, zeroes, page) == 0, "a page given back is not empty");
        }
    }
    munmap(area, pages * page);
}

static void make_swap(const char* path) {
    static struct {
        char boot[1024];
        uint32_t version, last_page, bad_pages;
        char rest[page - 1024 - 12 - 10];
        char magic[10];
    } __attribute__((packed)) header = {.version = 1, .magic = "SWAPSPACE2"};
    const int fd = open(path, O_RDWR);
    need(fd >= 0, path);
    const off_t size = lseek(fd, 0, SEEK_END);
    header.last_page = (uint32_t)(size / page - 1);
    need(pwrite(fd, &header, page, 0) == page && fsync(fd) == 0 && close(fd) == 0, "swap header");
    need(swapon(path, 0) == 0, "swapon");
}

/* More than there is memory, read twice, with a child that inherits what is swapped out. */
static void swap_storm(const char* path) {
    struct sysinfo info;
    make_swap(path);
    need(sysinfo(&info) == 0, "sysinfo");
    const size_t pages = (info.freeram * info.mem_unit + info.bufferram * info.mem_unit) / page + 6000;
    char* area = map(pages);
    for (size_t i = 0; i < pages; ++i)
        fill(area + i * page, i);
    const pid_t child = fork();
    need(child >= 0, "fork");
    for (size_t i = child == 0 ? 0 : 1; i < pages; i += 2)
        check(area + i * page, i, "from swap");
    if (child == 0)
        _exit(0);
    collect(1);
    need(sysinfo(&info) == 0 && info.freeswap < info.totalswap, "nothing was swapped out");
    for (size_t i = 0; i < pages; i += 3)
        fill(area + i * page, i + 1);
    for (size_t i = 0; i < pages; ++i)
        check(area + i * page, i % 3 ? i : i + 1, "from swap, written again");
    munmap(area, pages * page);
    need(swapoff(path) == 0, "swapoff");
}

static void run(const char* name, void (*part)(long), long rounds) {
    part(rounds);
    printf("ok %s\n", name);
    fflush(stdout);
}

int main(int argc, char** argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: memory_stress ROUNDS [SWAP-DEVICE]\n");
        return 2;
    }
    const long rounds = atol(argv[1]);
    run("fork", fork_storm, rounds);
    run("mprotect", protect_storm, rounds);
    run("mappings", many_mappings, rounds);
    run("mremap", move_storm, rounds);
    run("madvise", advice_storm, rounds);
    if (argc > 2) {
        swap_storm(argv[2]);
        printf("ok swap\n");
    }
    return 0;
}
