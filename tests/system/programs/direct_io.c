/* Writes and reads a disk past the page cache, in pieces of whole sectors that lie anywhere in their pages, and
 * compares every byte: for test_direct_io.py, which runs it in a guest. One static program; the same numbers each time.
 *
 * usage: direct_io DEVICE MIB STEPS MODEL [STOP]   prints `ok` and how many steps it did (until there is a file STOP),
 * and leaves what the disk's first MIB must be in the file MODEL; the first thing that is wrong ends it with 1
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "checks.h"

enum { sector = 512, page = 4096, most_parts = 8, most_sectors = 48 };

static uint64_t below(uint64_t limit) {
    return number() % limit;
}

static unsigned char* room(size_t bytes) {
    void* memory = NULL;
    need(posix_memalign(&memory, page, bytes) == 0, "memory");
    return memory;
}

/* Parts of whole sectors, each from any sector of a page on, in the order of the data. Their sum. */
static size_t lay_out(unsigned char* memory, struct iovec* parts, int* count, size_t most) {
    size_t sum = 0;
    *count = 0;
    for (int wanted = 1 + (int)below(most_parts); *count < wanted && sum < most;) {
        size_t length = (1 + below(most_sectors)) * sector;
        length = length > most - sum ? most - sum : length;
        parts[*count].iov_base = memory + below(page / sector) * sector;
        parts[*count].iov_len = length;
        memory += (most_sectors * sector / page + 2) * page;
        sum += length;
        ++*count;
    }
    return sum;
}

static void write_some(int disk, unsigned char* memory, unsigned char* model, size_t at, size_t most) {
    struct iovec parts[most_parts];
    int count;
    const size_t sum = lay_out(memory, parts, &count, most);
    size_t done = 0;
    for (int i = 0; i < count; ++i) {
        for (size_t word = 0; word < parts[i].iov_len / 8; ++word) {
            const uint64_t value = below(UINT64_MAX);
            memcpy((unsigned char*)parts[i].iov_base + word * 8, &value, 8);
        }
        memcpy(model + at + done, parts[i].iov_base, parts[i].iov_len);
        done += parts[i].iov_len;
    }
    need(pwritev(disk, parts, count, (off_t)at) == (ssize_t)sum, "write");
}

static void read_some(int disk, unsigned char* memory, const unsigned char* model, size_t at, size_t most) {
    struct iovec parts[most_parts];
    int count;
    const size_t sum = lay_out(memory, parts, &count, most);
    for (int i = 0; i < count; ++i)
        memset(parts[i].iov_base, 0xa5, parts[i].iov_len);
    need(preadv(disk, parts, count, (off_t)at) == (ssize_t)sum, "read");
    for (int i = 0; i < count; at += parts[i++].iov_len) {
        if (memcmp(parts[i].iov_base, model + at, parts[i].iov_len) == 0)
            continue;
        fprintf(stderr, "part %d of %d, at byte %zu: differs\n", i, count, at);
        exit(1);
    }
}

int main(int argc, char** argv) {
    if (argc < 5)
        return 2;
    const size_t size = strtoul(argv[2], NULL, 10) << 20;
    const long steps = strtol(argv[3], NULL, 10);
    const int disk = open(argv[1], O_RDWR | O_DIRECT);
    need(disk >= 0, argv[1]);
    unsigned char* model = room(size);
    unsigned char* memory = room(most_parts * (most_sectors * sector / page + 2) * page);
    need(pread(disk, model, size, 0) == (ssize_t)size, "read all");
    long step = 0;
    for (; step < steps && (argc < 6 || access(argv[5], F_OK) != 0); ++step) {
        const size_t at = below(size / sector) * sector;
        if (step % 2 == 0)
            write_some(disk, memory, model, at, size - at);
        else
            read_some(disk, memory, model, at, size - at);
    }
    need(fsync(disk) == 0, "fsync");
    const int file = open(argv[4], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    need(write(file, model, size) == (ssize_t)size, argv[4]);
    printf("ok %ld\n", step);
    return 0;
}
