/* Page tables under stress, with what every page must hold known at every moment: writes, forks with copy-on-write both
 * ways, protections that must hold, holes, moves, thousands of small mappings. A static program for a guest's RAM disk;
 * started by tests/system/test_guest_kernel.py.
 *
 * usage: stress SEED STEPS [PROCESSES]   last line `stress: good` and status 0, or what was wrong
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { page = 4096, pages = 1200, words = page / 8, most_at_once = 300, small_mappings = 2000 };

static unsigned char* area;
static unsigned version[pages]; /* 0: never written since it was mapped, so all zero */
static int writable[pages];
static unsigned long long seed;
static const char* doing = "start";

static void fail(const char* what, long where) {
    printf("stress: %s, page %ld, while: %s\n", what, where, doing);
    fflush(stdout);
    _exit(1);
}

static unsigned roll(unsigned below) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(seed >> 33) % below;
}

static unsigned long long word(long p, int w) {
    return version[p] ? version[p] * 0x9e3779b97f4a7c15ull + (unsigned long long)p * 131 + (unsigned)w : 0;
}

static void check(long p) {
    const unsigned long long* at = (void*)(area + p * page);
    for (int w = 0; w < words; w += 37)
        if (at[w] != word(p, w))
            fail("wrong content", p);
}

static void check_all(void) {
    for (long p = 0; p < pages; ++p)
        check(p);
}

static void write_page(long p) {
    unsigned long long* at = (void*)(area + p * page);
    ++version[p];
    for (int w = 0; w < words; w += 37)
        at[w] = word(p, w);
}

static sigjmp_buf fault;
static void on_fault(int number) {
    (void)number;
    siglongjmp(fault, 1);
}

/* A page that may not be written is not written. */
static void try_forbidden(long p) {
    if (sigsetjmp(fault, 1) == 0) {
        *(volatile unsigned char*)(area + p * page) = 1;
        fail("a read-only page was written", p);
    }
    check(p);
}

static void protect(long first, long n, int may_write) {
    doing = may_write ? "mprotect to read and write" : "mprotect to read";
    if (mprotect(area + first * page, (size_t)n * page, may_write ? PROT_READ | PROT_WRITE : PROT_READ) != 0)
        fail("mprotect", first);
    for (long p = first; p < first + n; ++p)
        writable[p] = may_write;
    const long one = first + roll((unsigned)n);
    may_write ? write_page(one) : try_forbidden(one);
}

static void drop(long first, long n) {
    doing = "madvise";
    if (madvise(area + first * page, (size_t)n * page, MADV_DONTNEED) != 0)
        fail("madvise", first);
    for (long p = first; p < first + n; ++p)
        version[p] = 0;
}

static void map_anew(long first, long n) {
    doing = "munmap and mmap";
    if (munmap(area + first * page, (size_t)n * page) != 0 ||
        mmap(area + first * page, (size_t)n * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) == MAP_FAILED)
        fail("mmap", first);
    for (long p = first; p < first + n; ++p)
        version[p] = 0, writable[p] = 1;
}

/* There and back: the tables change, the contents do not. */
static void move(long first, long n) {
    doing = "mremap";
    const size_t size = (size_t)n * page;
    char* other = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    map_anew(first, n); /* one mapping: mremap takes no more */
    for (long p = first; p < first + n; p += 3)
        write_page(p);
    if (other == MAP_FAILED || mremap(area + first * page, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, other) != other ||
        mremap(other, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, area + first * page) != area + first * page)
        fail("mremap", first);
}

static void wait_for(pid_t child) {
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        fail("a child", status);
}

/* The child sees what its parent had and keeps what it writes to itself; so does the parent. */
static void fork_and_check(long first, long n) {
    doing = "fork";
    volatile unsigned* shared = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const pid_t child = fork();
    if (child == 0) {
        doing = "a child's life";
        check_all();
        for (long p = first; p < first + n; ++p)
            if (writable[p])
                write_page(p);
        check_all();
        shared[1] = 4711;
        _exit(0);
    }
    for (long p = first; p < first + n; p += 2)
        if (writable[p])
            write_page(p);
    wait_for(child);
    if (shared[1] != 4711)
        fail("shared memory", 0);
    munmap((void*)shared, page);
}

static void many_mappings(void) {
    doing = "thousands of mappings";
    char* at = mmap(NULL, (size_t)small_mappings * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        fail("mmap", 0);
    for (long p = 0; p < small_mappings; p += 2) {
        at[p * page] = (char)p;
        if (mprotect(at + p * page, page, PROT_READ) != 0)
            fail("mprotect", p);
    }
    for (long p = 0; p < small_mappings; ++p)
        if (at[p * page] != (p % 2 == 0 ? (char)p : 0))
            fail("wrong content among many mappings", p);
    munmap(at, (size_t)small_mappings * page);
}

static void step(void) {
    const long first = roll(pages), room = pages - first;
    const long n = 1 + roll((unsigned)(room < most_at_once ? room : most_at_once));
    switch (roll(16)) {
    case 0:
        fork_and_check(first, n);
        break;
    case 1:
        drop(first, n);
        break;
    case 2:
        map_anew(first, n);
        break;
    case 3:
        move(first, n);
        break;
    case 4:
        roll(8) ? check_all() : many_mappings();
        break;
    case 5:
    case 6:
    case 7:
        protect(first, n, 0);
        break;
    case 8:
    case 9:
    case 10:
    case 11:
        protect(first, n, 1);
        break;
    default:
        doing = "writing";
        for (long p = first; p < first + n; ++p)
            writable[p] ? write_page(p) : check(p);
    }
}

static int work(unsigned long long start, long steps) {
    seed = start;
    area = mmap(NULL, (size_t)pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED)
        fail("mmap", 0);
    for (long p = 0; p < pages; ++p)
        writable[p] = 1;
    signal(SIGSEGV, on_fault);
    while (steps-- > 0)
        step();
    doing = "the end";
    check_all();
    return 0;
}

int main(int argc, char** argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: stress SEED STEPS [PROCESSES]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    const unsigned long long start = strtoull(argv[1], NULL, 0);
    const int processes = argc > 3 ? atoi(argv[3]) : 1;
    pid_t children[64];
    for (int i = 0; i < processes && i < 64; ++i)
        if ((children[i] = fork()) == 0)
            _exit(work(start + (unsigned)i, atol(argv[2])));
    for (int i = 0; i < processes && i < 64; ++i)
        wait_for(children[i]);
    printf("stress: good\n");
    return 0;
}
