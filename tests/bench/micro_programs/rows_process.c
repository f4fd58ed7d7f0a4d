/* Rows that make and end processes and threads. The programs they execute lie beside the benchmark in the RAM disk. */
#define _GNU_SOURCE
#include "bench.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void wait_for(pid_t child, const char* what) {
    int status = -1;
    need(child > 0, what);
    need(waitpid(child, &status, 0) == child && status == 0, what);
}

static void fork_exit_wait(long n) {
    while (n--) {
        const pid_t child = fork();
        if (child == 0)
            _exit(0);
        wait_for(child, "fork");
    }
}

static char* ballast;
enum { ballast_size = 16 << 20 };
static void load_ballast(void) {
    ballast = mmap(NULL, ballast_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(ballast != MAP_FAILED, "mmap");
    for (long i = 0; i < ballast_size; i += 4096)
        ballast[i] = 1;
}
static void drop_ballast(void) {
    munmap(ballast, ballast_size);
}

/* Not inlined: what vfork's child does to its frame must not touch the caller's. */
__attribute__((noinline)) static void execute(const char* path) {
    char* const arguments[] = {(char*)path, NULL};
    char* const environment[] = {NULL};
    const pid_t child = vfork();
    if (child == 0) {
        execve(path, arguments, environment);
        _exit(127);
    }
    wait_for(child, path);
}
static void exec_static(long n) {
    while (n--)
        execute("/bench/true-static");
}
static void exec_dynamic(long n) {
    while (n--)
        execute("/bench/true-dynamic");
}
static void compile_job(long n) {
    while (n--)
        execute("/bench/job.sh");
}

static int thread(void* nothing) {
    (void)nothing;
    return 0;
}
static void clone_thread(long n) {
    static char stack[16384] __attribute__((aligned(16)));
    while (n--) {
        const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | SIGCHLD;
        wait_for(clone(thread, stack + sizeof stack, flags, NULL), "clone");
    }
}

const struct row rows_process[] = {
    {"fork + exit + wait", fork_exit_wait, 5, NULL, NULL},
    {"vfork + exec of a static program", exec_static, 3, NULL, NULL},
    {"vfork + exec of a dynamic program", exec_dynamic, 2, NULL, NULL},
    {"clone of a thread", clone_thread, 20, NULL, NULL},
    {"fork of a process with 16 MiB touched", fork_exit_wait, 1, load_ballast, drop_ballast},
    {"compile job", compile_job, 1, NULL, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
