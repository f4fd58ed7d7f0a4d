// The opener's end. See opener.hpp. The worker is hostile: eight bytes are all that is ever taken from it.
#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <grp.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend-drivers/block/disk.hpp"
#include "backend-drivers/block/opener.hpp"
#include "backend-drivers/common/directory.hpp"
#include "backend-drivers/common/privileges.hpp"
#include "backend-drivers/common/system_calls.hpp"

namespace domus::block {

namespace asio = boost::asio;

namespace {

/// The next request; nothing when there is none yet. Throws when the worker is gone, or sends anything else.
std::optional<OpenRequest> take_request(int socket) {
    OpenRequest request{};
    const ssize_t got = ::recv(socket, &request, sizeof request, MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return std::nullopt;
    }
    if (got != ssize_t{sizeof request} || request.zero != 0) { // descriptors that came along are closed by the kernel
        throw std::runtime_error(got <= 0 ? "the worker is gone" : "the worker sent what is no request");
    }
    return request;
}

/// Throws when the worker does not take it.
void answer(int socket, const Opened& opened) {
    OpenAnswer answer{};
    answer.error = opened.error;
    opened.why.copy(answer.why, sizeof answer.why - 1);
    iovec piece{&answer, sizeof answer};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    if (opened.descriptor) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        const int descriptor = opened.descriptor.get();
        std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    if (::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) != ssize_t{sizeof answer}) {
        throw std::runtime_error(fmt::format("the worker takes no answers: {}", std::strerror(errno)));
    }
}

asio::awaitable<Opened> open_for(xenstore::Client& store, std::string device) {
    Opened none;
    try {
        const auto target = co_await store.try_read(device + "/params");
        const auto mode = co_await store.try_read(device + "/mode");
        if (target && !target->empty()) {
            co_return open_target(*target, !may_write(mode));
        }
        none.error = ENOENT;
        none.why = "the toolstack wrote no node params, which names the medium";
    } catch (const boost::system::system_error& error) {
        none.error = error.code().value();
        none.why = error.what();
    }
    co_return none;
}

/// What it still does; its files are opened for reading and writing by others only.
constexpr int own_calls[] = {SYS_open,           SYS_openat,       SYS_close,           SYS_stat,
                             SYS_fstat,          SYS_newfstatat,   SYS_statx,           SYS_pread64,
                             SYS_read,           SYS_write,        SYS_readv,           SYS_writev,
                             SYS_fcntl,          SYS_ioctl,        SYS_socket,          SYS_connect,
                             SYS_getsockopt,     SYS_setsockopt,   SYS_sendto,          SYS_recvfrom,
                             SYS_sendmsg,        SYS_recvmsg,      SYS_shutdown,        SYS_epoll_wait,
                             SYS_epoll_pwait,    SYS_epoll_ctl,    SYS_epoll_create1,   SYS_poll,
                             SYS_ppoll,          SYS_eventfd2,     SYS_timerfd_create,  SYS_timerfd_settime,
                             SYS_clock_gettime,  SYS_gettimeofday, SYS_munmap,          SYS_mremap,
                             SYS_madvise,        SYS_brk,          SYS_futex,           SYS_rt_sigaction,
                             SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_restart_syscall, SYS_getpid,
                             SYS_gettid,         SYS_tgkill,       SYS_getrandom,       SYS_exit,
                             SYS_exit_group};

asio::awaitable<void> run(client::Descriptor socket, std::string store_path) {
    const auto store = co_await xenstore::Client::connect(store_path);
    if (::geteuid() == 0 && ::setgroups(0, nullptr) != 0) {
        throw std::runtime_error(fmt::format("giving up groups: {}", std::strerror(errno)));
    }
    backend::keep_only({}); // root's user alone: it may open what belongs to root
    backend::allow_only(own_calls);
    co_await serve_openings(std::move(socket), store);
}

} // namespace

asio::awaitable<void> serve_openings(client::Descriptor socket, std::shared_ptr<xenstore::Client> store) {
    asio::posix::stream_descriptor worker(co_await asio::this_coro::executor, socket.release());
    const auto home = co_await backend::own_home(*store);
    for (;;) {
        co_await worker.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
        while (const auto request = take_request(worker.native_handle())) {
            const backend::DeviceId device{home, device_type, request->domid, request->devid};
            const auto opened = co_await open_for(*store, device.path());
            answer(worker.native_handle(), opened);
        }
    }
}

int run_opener(const std::string& store) {
    spdlog::set_default_logger(spdlog::stderr_logger_st("domus-blockd-opener"));
    spdlog::set_pattern("%n: %l: %v");
    std::signal(SIGPIPE, SIG_IGN);
    asio::io_context context(1);
    asio::co_spawn(context, run(client::Descriptor(opener_socket), store), [](const std::exception_ptr& failure) {
        try {
            if (failure) {
                std::rethrow_exception(failure);
            }
        } catch (const std::exception& error) {
            spdlog::info("ends: {}", error.what());
        }
        std::_Exit(0); // what its worker takes for the end of both
    });
    context.run();
    return 0;
}

} // namespace domus::block
