// The worker's end, and how the opener is started. See opener.hpp; unix(7) for descriptors in messages.
#include "backend-drivers/block/opener.hpp"

#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend-drivers/common/signal.hpp"

namespace domus::block {

namespace asio = boost::asio;

namespace {

/// One answer; nothing when there is none yet. Throws when the opener is gone.
std::optional<Opened> take_answer(int socket) {
    OpenAnswer answer{};
    iovec piece{&answer, sizeof answer};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return std::nullopt;
    }
    if (got != ssize_t{sizeof answer}) {
        throw std::runtime_error("the process that opens media is gone");
    }
    Opened opened;
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        int descriptor = -1;
        std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
        opened.descriptor = client::Descriptor(descriptor);
    }
    opened.error = opened.descriptor || answer.error != 0 ? answer.error : EIO;
    opened.why.assign(answer.why, ::strnlen(answer.why, sizeof answer.why));
    return opened;
}

} // namespace

struct RemoteOpener::State {
    struct Waiting {
        explicit Waiting(const asio::any_io_executor& executor) : answered(executor) {}
        backend::Signal answered;
        bool is_answered = false;
        Opened opened;
    };
    State(const asio::any_io_executor& executor, client::Descriptor socket) : stream(executor, socket.release()) {}

    asio::posix::stream_descriptor stream;
    std::deque<std::shared_ptr<Waiting>> waiting;
    std::function<void()> lost;

    void fail_all() {
        for (const auto& each : std::exchange(waiting, {})) {
            each->opened.error = ECONNRESET;
            each->is_answered = true;
            each->answered.notify();
        }
    }
    static asio::awaitable<void> read_answers(std::shared_ptr<State> self);
};

asio::awaitable<void> RemoteOpener::State::read_answers(std::shared_ptr<State> self) {
    for (;;) {
        boost::system::error_code stopped;
        co_await self->stream.async_wait(asio::posix::stream_descriptor::wait_read,
                                         asio::redirect_error(asio::use_awaitable, stopped));
        if (stopped) {
            co_return; // by the destructor
        }
        while (auto opened = take_answer(self->stream.native_handle())) {
            if (self->waiting.empty()) {
                throw std::runtime_error("the process that opens media answered what nobody asked");
            }
            const auto first = self->waiting.front();
            self->waiting.pop_front();
            first->opened = std::move(*opened);
            first->is_answered = true;
            first->answered.notify();
        }
    }
}

RemoteOpener::RemoteOpener(asio::any_io_executor executor, client::Descriptor socket, std::function<void()> lost)
    : state_(std::make_shared<State>(executor, std::move(socket))) {
    state_->lost = std::move(lost);
    asio::co_spawn(executor, State::read_answers(state_), [state = state_](const std::exception_ptr& failure) {
        if (failure) {
            state->fail_all();
            state->lost();
        }
    });
}

RemoteOpener::~RemoteOpener() {
    boost::system::error_code ignored;
    state_->stream.close(ignored);
    state_->fail_all();
}

asio::awaitable<Opened> RemoteOpener::open(Spec spec) {
    const auto state = state_;
    const OpenRequest request{.devid = spec.devid, .domid = spec.domid, .zero = 0};
    const ssize_t sent = ::send(state->stream.native_handle(), &request, sizeof request, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent != ssize_t{sizeof request}) {
        Opened none;
        none.error = errno == EAGAIN ? EBUSY : errno; // busy: asked again in a moment
        co_return none;
    }
    const auto own = std::make_shared<State::Waiting>(state->stream.get_executor());
    state->waiting.push_back(own);
    while (!own->is_answered) {
        co_await own->answered.wait();
    }
    co_return std::move(own->opened);
}

client::Descriptor start_opener(const std::string& store) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        throw std::runtime_error(fmt::format("starting the opener of media: {}", std::strerror(errno)));
    }
    client::Descriptor ours(ends[0]);
    const client::Descriptor theirs(ends[1]);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), opener_socket);
    std::string program = std::filesystem::read_symlink("/proc/self/exe").replace_filename("domus-blockd-opener");
    std::string path = store;
    char* const arguments[] = {program.data(), path.data(), nullptr};
    pid_t child = 0;
    // A program, not forked: it shares no addresses with the worker that could be learned there.
    const int failed = ::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
        throw std::runtime_error(fmt::format("starting {}: {}", program, std::strerror(failed)));
    }
    return ours;
}

} // namespace domus::block
