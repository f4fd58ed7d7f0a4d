// What a backend can do no more once its devices are open, tried in a child.
#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend-drivers/common/privileges.hpp"
#include "backend-drivers/common/system_calls.hpp"

namespace domus::backend {
namespace {

bool refused(long result) {
    return result == -1 && errno == EPERM;
}

template <class Try>
int in_child(Try what, std::initializer_list<int> more = {}) {
    keep_only({});
    allow_system_calls(more);
    return what() ? 0 : 1;
}

#define EXPECT_IN_CHILD(what, ...)                                                                                     \
    EXPECT_EXIT(std::_Exit(in_child(what, ##__VA_ARGS__)), testing::ExitedWithCode(0), "")

TEST(SystemCalls, NoProgramIsStarted) {
    EXPECT_IN_CHILD([] { return refused(::syscall(SYS_execve, "/bin/true", nullptr, nullptr)); });
    EXPECT_IN_CHILD([] { return refused(::syscall(SYS_fork)); });
    EXPECT_IN_CHILD([] { return refused(::syscall(SYS_clone, 0x11, 0, 0, 0, 0)); });
}

TEST(SystemCalls, NobodyIsDebuggedAndNothingMounted) {
    EXPECT_IN_CHILD([] { return refused(::syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0)); });
    EXPECT_IN_CHILD([] { return refused(::syscall(SYS_mount, "", "/", "", 0, nullptr)); });
    EXPECT_IN_CHILD([] { return refused(::syscall(SYS_kill, ::getpid(), 0)); });
}

TEST(SystemCalls, NobodyIsListenedTo) {
    EXPECT_IN_CHILD([] { return refused(::syscall(SYS_listen, 0, 1)); });
}

TEST(SystemCalls, NoCodeIsMade) {
    EXPECT_IN_CHILD([] {
        const auto map = [](int protection) {
            return ::syscall(SYS_mmap, nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        };
        const long plain = map(PROT_READ | PROT_WRITE);
        return plain != -1 && refused(map(PROT_READ | PROT_EXEC)) &&
               refused(::syscall(SYS_mprotect, plain, 4096, PROT_READ | PROT_EXEC)) &&
               ::syscall(SYS_mprotect, plain, 4096, PROT_READ) == 0;
    });
}

TEST(SystemCalls, OnlyWhatIsListedWhereThatIsLess) {
    const auto child = [] {
        const int few[] = {SYS_getpid, SYS_exit_group, SYS_sigaltstack, SYS_munmap}; // what ASan's end needs, too
        keep_only({});
        allow_only(few);
        return refused(::syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY)) &&
                       refused(::syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0)) && ::syscall(SYS_getpid) > 0
                   ? 0
                   : 1;
    };
    EXPECT_EXIT(std::_Exit(child()), testing::ExitedWithCode(0), "");
}

TEST(SystemCalls, WhatABackendNeedsGoesOn) {
    EXPECT_IN_CHILD([] {
        const int file = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        return file >= 0 && ::write(file, "x", 1) == 1 && ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
    });
    EXPECT_IN_CHILD([] { return ::syscall(SYS_kill, ::getpid(), 0) == 0; }, {SYS_kill});
}

} // namespace
} // namespace domus::backend
