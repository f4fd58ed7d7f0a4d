/* Rows that cross into the kernel and back without changing memory: system calls, signals, pipes, context switches. */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void null_syscall(long n) {
    while (n--)
        syscall(SYS_getppid);
}

static int zero;
static void open_zero(void) {
    need((zero = open("/dev/zero", O_RDONLY)) >= 0, "/dev/zero");
}
static void close_zero(void) {
    close(zero);
}
static void read_byte(long n) {
    char c;
    while (n--)
        need(read(zero, &c, 1) == 1, "read");
}

static void on_signal(int number) {
    (void)number;
}
static void install_handler(void) {
    need(signal(SIGUSR1, on_signal) != SIG_ERR, "signal");
}
static void signal_self(long n) {
    const pid_t me = getpid();
    while (n--)
        kill(me, SIGUSR1);
}

/* A ring of processes: each waits for a byte from the one before and hands it on. */
enum { most = 16 };
static int pipes[most][2];
static pid_t children[most];
static int members;

static void start_ring(int count) {
    members = count;
    for (int i = 0; i < count; ++i)
        need(pipe(pipes[i]) == 0, "pipe");
    for (int i = 1; i < count; ++i) {
        need((children[i] = fork()) >= 0, "fork");
        if (children[i] != 0)
            continue;
        char c;
        while (read(pipes[i - 1][0], &c, 1) == 1)
            need(write(pipes[i][1], &c, 1) == 1, "write");
        _exit(0);
    }
}
static void stop_ring(void) {
    for (int i = 1; i < members; ++i) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
    for (int i = 0; i < members; ++i) {
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
}
static void start_ring_of_2(void) {
    start_ring(2);
}
static void start_ring_of_16(void) {
    start_ring(16);
}
static void round_trip(long n) {
    char c = 0;
    while (n--) {
        need(write(pipes[0][1], &c, 1) == 1, "write");
        need(read(pipes[members - 1][0], &c, 1) == 1, "read");
    }
}

/* Only the switch: processes of one CPU that yield to each other, without anything to carry. */
static int yielders;
static void start_yielders(int others) {
    yielders = others;
    for (int i = 0; i < others; ++i) {
        need((children[i] = fork()) >= 0, "fork");
        if (children[i] == 0) {
            for (;;)
                syscall(SYS_sched_yield);
        }
    }
}
static void start_1_yielder(void) {
    start_yielders(1);
}
static void start_15_yielders(void) {
    start_yielders(15);
}
static void stop_yielders(void) {
    for (int i = 0; i < yielders; ++i) {
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
    }
}
static void yield(long n) {
    while (n--)
        syscall(SYS_sched_yield);
}

static void compute(long n) {
    volatile unsigned result;
    while (n--) {
        unsigned x = 1;
        for (int i = 0; i < 200000; ++i) {
            x = x * 1664525u + 1013904223u;
            x ^= x >> 7;
            __asm__ volatile("" : "+r"(x));
        }
        result = x;
    }
    (void)result;
}

const struct row rows_kernel[] = {
    {"null syscall", null_syscall, 2000, NULL, NULL},
    {"read 1 byte of /dev/zero", read_byte, 1000, open_zero, close_zero},
    {"signal to self", signal_self, 300, install_handler, NULL},
    {"pipe round trip", round_trip, 100, start_ring_of_2, stop_ring},
    {"token round a ring of 16 processes", round_trip, 10, start_ring_of_16, stop_ring},
    {"yield among 2 processes", yield, 200, start_1_yielder, stop_yielders},
    {"yield among 16 processes", yield, 50, start_15_yielders, stop_yielders},
    {"compute loop", compute, 1, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
