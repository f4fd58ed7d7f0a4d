// See system_calls.hpp; seccomp(2), and Documentation/userspace-api/seccomp_filter.rst of Linux. The list is what
// `strace -f` shows of the hosted tests of disks and cards, less what starting a program and the tests' own store need,
// and what the C library takes for the same work on another machine (other stat and poll calls, looking a name up).
#include "backend-drivers/common/system_calls.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace domus::backend {

namespace {

constexpr int frame_calls[] = {
    // files: images, journals, figures, tap devices, the hypervisor's devices
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_open,
    SYS_openat, SYS_close, SYS_stat, SYS_fstat, SYS_lstat, SYS_newfstatat, SYS_statx, SYS_access, SYS_faccessat,
    SYS_faccessat2, SYS_readlink, SYS_readlinkat, SYS_lseek, SYS_ioctl, SYS_fcntl, SYS_flock, SYS_ftruncate,
    SYS_fallocate, SYS_fsync, SYS_fdatasync, SYS_unlink, SYS_unlinkat, SYS_rename, SYS_renameat2, SYS_mkdir,
    SYS_getdents64, SYS_dup, SYS_msync, SYS_fstatfs, SYS_statfs, SYS_io_uring_enter, SYS_io_uring_register,
    SYS_io_uring_setup,
    // memory and threads' own; mmap and mprotect are judged below
    SYS_munmap, SYS_mremap, SYS_madvise, SYS_mincore, SYS_brk, SYS_mlock, SYS_munlock, SYS_futex, SYS_rseq,
    SYS_set_robust_list, SYS_sigaltstack,
    // waiting and time
    SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_epoll_ctl, SYS_epoll_create1, SYS_poll, SYS_ppoll,
    SYS_eventfd2, SYS_timerfd_create, SYS_timerfd_settime, SYS_pipe2, SYS_clock_gettime, SYS_clock_nanosleep,
    SYS_nanosleep, SYS_gettimeofday, SYS_restart_syscall, SYS_sched_yield,
    // the store again when it comes back, interfaces' ioctls; no listening
    SYS_socket, SYS_connect, SYS_getsockopt, SYS_setsockopt, SYS_getsockname, SYS_getpeername, SYS_sendto, SYS_recvfrom,
    SYS_sendmsg, SYS_recvmsg, SYS_shutdown, SYS_bind, SYS_sendmmsg, SYS_socketpair,
    // the process itself
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_getpid, SYS_gettid, SYS_tgkill, SYS_getuid, SYS_geteuid,
    SYS_getgid, SYS_getegid, SYS_getrandom, SYS_uname, SYS_sysinfo, SYS_prlimit64, SYS_exit, SYS_exit_group};

constexpr std::uint32_t forbidden = SECCOMP_RET_ERRNO | EPERM;

constexpr std::uint32_t at(std::size_t offset) {
    return static_cast<std::uint32_t>(offset);
}

/// Lets `number` through unless its third argument says that memory is to be executed.
void add_memory_call(std::vector<sock_filter>& program, int number) {
    constexpr auto protection = offsetof(seccomp_data, args) + 2 * sizeof(std::uint64_t); // the low half comes first
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 4));
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at(protection)));
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, forbidden));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

} // namespace

void allow_system_calls(std::initializer_list<int> more) {
    std::vector<int> calls(std::begin(frame_calls), std::end(frame_calls));
    calls.insert(calls.end(), more);
    allow_only(calls);
}

void allow_only(std::span<const int> calls) {
    std::vector<sock_filter> program{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at(offsetof(seccomp_data, arch))),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS), // 32-bit numbers mean other calls
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at(offsetof(seccomp_data, nr))),
    };
    add_memory_call(program, SYS_mmap);
    add_memory_call(program, SYS_mprotect);
    for (const int number : calls) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 1));
        program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, forbidden)); // and the x32 calls, whose numbers have a bit more
    const sock_fprog filter{.len = static_cast<unsigned short>(program.size()), .filter = program.data()};
    // Threads that were started before are held to it, too; the number of one that cannot be is the answer.
    const long failed = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
    if (failed > 0) {
        throw std::runtime_error("giving up system calls: thread " + std::to_string(failed) +
                                 " has a filter of its own");
    }
    if (failed != 0) {
        throw std::runtime_error(std::string("giving up system calls: ") + std::strerror(errno));
    }
}

} // namespace domus::backend
