/* Huge pages of a process under stress: what every page must hold is known through forks, protections and holes within
 * them, moves, and pages given back. A static program for a guest's RAM disk; started by
 * tests/system/test_guest_kernel.py.
 *
 * usage: huge ROUNDS   last lines: `huge: N kB at most in huge pages`, `huge: good`, status 0; or what was wrong
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { page = 4096, block = 2 << 20, blocks = 8, pages = blocks * (block / page) };

static unsigned char* area;
static unsigned version[pages]; /* 0: all zero */
static unsigned seed = 1;

static void fail(const char* what, long where) {
    printf("huge: %s, page %ld\n", what, where);
    fflush(stdout);
    _exit(1);
}

static unsigned roll(unsigned below) {
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static uint64_t word(long p, int w) {
    return version[p] ? version[p] * 0x9e3779b97f4a7c15ull + (uint64_t)p * 131 + (unsigned)w : 0;
}

static void check_all(const char* when) {
    for (long p = 0; p < pages; ++p)
        for (int w = 0; w < page / 8; w += 73)
            if (((volatile uint64_t*)(area + p * page))[w] != word(p, w))
                fail(when, p);
}

static void write_page(long p) {
    ++version[p];
    for (int w = 0; w < page / 8; w += 73)
        ((volatile uint64_t*)(area + p * page))[w] = word(p, w);
}

static long huge_kilobytes(void) {
    char line[256];
    long sum = 0, one;
    FILE* maps = fopen("/proc/self/smaps", "r");
    while (maps && fgets(line, sizeof line, maps))
        if (sscanf(line, "AnonHugePages: %ld", &one) == 1)
            sum += one;
    if (maps)
        fclose(maps);
    return sum;
}

/* The area anew, at an address that huge pages can have. */
static void map_area(void) {
    unsigned char* raw = mmap(NULL, (blocks + 1) * block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED)
        fail("mmap", -1);
    area = (unsigned char*)(((uintptr_t)raw + block - 1) & ~(uintptr_t)(block - 1));
    memset(version, 0, sizeof version);
}

static void in_child(void) {
    const pid_t child = fork();
    if (child < 0)
        fail("fork", -1);
    if (child == 0) {
        check_all("the child sees something else");
        for (int i = 0; i < 200; ++i)
            write_page(roll(pages));
        check_all("the child's own writes");
        _exit(0);
    }
    for (int i = 0; i < 200; ++i)
        write_page(roll(pages)); /* while the child looks */
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0)
        fail("the child failed", status);
}

static void protect_part(void) {
    const long first = roll(pages - 64), count = 1 + roll(63);
    if (mprotect(area + first * page, (size_t)count * page, roll(2) ? PROT_READ : PROT_NONE) != 0)
        fail("mprotect", first);
    if (mprotect(area + first * page, (size_t)count * page, PROT_READ | PROT_WRITE) != 0)
        fail("mprotect back", first);
}

static void give_back_part(int hole) {
    const long first = roll(pages - 700), count = 1 + roll(700);
    unsigned char* at = area + first * page;
    if (hole && (munmap(at, (size_t)count * page) != 0 || mmap(at, (size_t)count * page, PROT_READ | PROT_WRITE,
                                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at))
        fail("a hole", first);
    if (!hole && madvise(at, (size_t)count * page, MADV_DONTNEED) != 0)
        fail("MADV_DONTNEED", first);
    memset(version + first, 0, (size_t)count * sizeof *version);
}

static void move(void) {
    unsigned char* to = mmap(NULL, (blocks + 2) * block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (to == MAP_FAILED)
        fail("mmap", -2);
    unsigned char* start = (unsigned char*)(((uintptr_t)to + block - 1) & ~(uintptr_t)(block - 1));
    start += roll(3) ? 0 : page * roll(512); /* mostly by whole blocks */
    for (int i = 0; i < blocks; ++i)         /* holes may have made several mappings of it */
        for (int part = 0; part < 4; ++part) {
            const long off = (long)i * block + part * (block / 4);
            if (mremap(area + off, block / 4, block / 4, MREMAP_MAYMOVE | MREMAP_FIXED, start + off) == MAP_FAILED)
                fail("mremap", off / page);
        }
    area = start;
}

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? atoi(argv[1]) : 20;
    long most = 0;
    for (int round = 0; round < rounds; ++round) {
        map_area();
        for (long p = 0; p < pages; ++p)
            write_page(p);
        check_all("after the first writes");
        const long now = huge_kilobytes();
        most = now > most ? now : most;
        in_child();
        check_all("after a fork");
        for (int i = 0; i < 12; ++i) {
            switch (roll(5)) {
            case 0:
                protect_part();
                break;
            case 1:
                give_back_part(0);
                break;
            case 2:
                give_back_part(1);
                break;
            case 3:
                in_child();
                break;
            default:
                write_page(roll(pages));
            }
            check_all("after a change of a part");
        }
        move();
        check_all("after a move");
        in_child();
        check_all("after a fork of what was moved");
        munmap(area, (size_t)blocks * block);
    }
    printf("huge: %ld kB at most in huge pages\nhuge: good\n", most);
    return 0;
}
