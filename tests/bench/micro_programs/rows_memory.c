/* Rows that change address spaces: mappings, protections, page faults. */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { page = 4096, map_pages = 512, protect_pages = 64, file_pages = 64 };

static char* map(size_t pages) {
    char* p = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(p != MAP_FAILED, "mmap");
    return p;
}
static void touch(char* p, size_t pages) {
    for (size_t i = 0; i < pages; ++i)
        p[i * page] = 1;
}

/* PV guests have no huge pages, so the rows about many small ones do without on the bare machine too. */
static void huge_pages_off(void) {
    need(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0, "prctl");
}
static void huge_pages_on(void) {
    need(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0, "prctl");
}

static void map_touch_unmap(long n) {
    while (n--) {
        char* p = map(map_pages);
        touch(p, map_pages);
        need(munmap(p, map_pages * page) == 0, "munmap");
    }
}

static char* area;
static void map_area(void) {
    area = map(protect_pages);
    touch(area, protect_pages);
}
static void unmap_area(void) {
    munmap(area, protect_pages * page);
}
static void protect_twice(long n) {
    while (n--) {
        need(mprotect(area, protect_pages * page, PROT_READ) == 0, "mprotect");
        need(mprotect(area, protect_pages * page, PROT_READ | PROT_WRITE) == 0, "mprotect");
    }
}

/* Only taking away: the kernel frees 64 touched pages and flushes their range, the mapping stays. */
static void drop_and_touch(long n) {
    while (n--) {
        need(madvise(area, protect_pages * page, MADV_DONTNEED) == 0, "madvise");
        touch(area, protect_pages);
    }
}

/* A range flush without freeing: 16 pages lose and regain their right to be written. */
static void flush_range(long n) {
    while (n--) {
        need(mprotect(area, 16 * page, PROT_READ) == 0, "mprotect");
        need(mprotect(area, 16 * page, PROT_READ | PROT_WRITE) == 0, "mprotect");
        touch(area, 16);
    }
}

static void map_unmap_untouched(long n) {
    while (n--)
        need(munmap(map(map_pages), map_pages * page) == 0, "munmap");
}

static int file;
static void make_file(void) {
    static char content[page];
    need((file = open("/tmp/bench-file", O_RDWR | O_CREAT | O_TRUNC, 0600)) >= 0, "/tmp/bench-file");
    for (int i = 0; i < file_pages; ++i)
        need(write(file, content, page) == page, "write");
}
static void remove_file(void) {
    close(file);
    unlink("/tmp/bench-file");
}
static void fault_file(long n) {
    while (n--) {
        volatile char* p = mmap(NULL, file_pages * page, PROT_READ, MAP_SHARED, file, 0);
        need(p != MAP_FAILED, "mmap");
        need(madvise((void*)p, file_pages * page, MADV_RANDOM) == 0, "madvise");
        for (int i = 0; i < file_pages; ++i)
            (void)p[i * page];
        need(munmap((void*)p, file_pages * page) == 0, "munmap");
    }
}

const struct row rows_memory[] = {
    {"map, touch, unmap 512 pages", map_touch_unmap, 1, huge_pages_off, huge_pages_on},
    {"map, unmap 512 pages untouched", map_unmap_untouched, 50, NULL, NULL},
    {"mprotect 64 pages, there and back", protect_twice, 20, map_area, unmap_area},
    {"drop and touch 64 pages", drop_and_touch, 5, map_area, unmap_area},
    {"flush a range of 16 pages twice", flush_range, 50, map_area, unmap_area},
    {"page fault on a file mapping, 64 times", fault_file, 5, make_file, remove_file},
    {NULL, NULL, 0, NULL, NULL},
};
