// The domain builder in a process of its own. No lock.
// The child speaks in lines: "S stage", then "R mfn mfn gref gref" or "E message".
#include <utility>

#include "toolstack/daemon/build_process.hpp"

#include "toolstack/engine/descriptor.hpp"

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace domus::daemon {

namespace asio = boost::asio;
using engine::Descriptor;

namespace {

void say(int pipe, char kind, std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    const std::string line = fmt::format("{} {}\n", kind, text);
    for (std::size_t done = 0; done < line.size();) {
        const auto n = ::write(pipe, line.data() + done, line.size() - done);
        if (n <= 0)
            ::_exit(2); // nobody listens any more
        done += std::size_t(n);
    }
}

std::optional<build::Result> parse_result(const std::string& text) {
    std::istringstream in(text);
    build::Result result;
    if (in >> result.store_mfn >> result.console_mfn >> result.store_gref >> result.console_gref)
        return result;
    return {};
}

/// Ends the child and takes its exit status when the work with it is over, whichever way.
class Child {
public:
    explicit Child(pid_t pid) : pid_(pid) {}
    Child(const Child&) = delete;
    ~Child() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
    }
    /// The exit status. The child has nothing more to say by now: should it not end by itself, it must not hold domusd
    /// up. One that has begun to exit is past being killed, and its status is its own.
    int end() {
        int status = 0;
        ::kill(pid_, SIGKILL);
        ::waitpid(std::exchange(pid_, -1), &status, 0);
        return status;
    }

private:
    pid_t pid_;
};

std::string died(int status) {
    if (WIFSIGNALED(status))
        return fmt::format("the domain builder was ended by signal {} ({}); if that was not you, the kernel image is "
                           "suspect: keep it and report the fault",
                           WTERMSIG(status), ::strsignal(WTERMSIG(status)));
    return fmt::format("the domain builder ended with status {} and no result", WEXITSTATUS(status));
}

} // namespace

void BuildProcess::run_child(int pipe, pid_t parent, const build::Request& request) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent)
        ::_exit(2); // domusd died before the line above
    try {
        const auto result = job_(request, [pipe](std::string_view stage) { say(pipe, 'S', std::string(stage)); });
        say(pipe, 'R',
            fmt::format("{} {} {} {}", result.store_mfn, result.console_mfn, result.store_gref, result.console_gref));
    } catch (const std::exception& e) {
        say(pipe, 'E', e.what());
    }
    ::_exit(0); // no destructors: they belong to the parent's half of the process
}

asio::awaitable<build::Result> BuildProcess::build(build::Request request, engine::Progress progress) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        throw std::runtime_error(fmt::format("cannot start the domain builder: pipe: {}", engine::errno_text()));
    asio::posix::stream_descriptor from(co_await asio::this_coro::executor, ends[0]);
    Descriptor to(ends[1]);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0)
        throw std::runtime_error(fmt::format("cannot start the domain builder: fork: {}", engine::errno_text()));
    if (pid == 0)
        run_child(to.get(), parent, request);
    Child child(pid);
    to = Descriptor();

    std::optional<build::Result> result;
    std::string failure, buffer;
    for (;;) {
        boost::system::error_code ended;
        const std::size_t n = co_await asio::async_read_until(from, asio::dynamic_buffer(buffer, 1 << 16), '\n',
                                                              asio::redirect_error(asio::use_awaitable, ended));
        if (ended)
            break;
        const std::string line = buffer.substr(0, n - 1);
        buffer.erase(0, n);
        const std::string text = line.size() > 2 ? line.substr(2) : "";
        if (line.starts_with("S "))
            progress(text);
        else if (line.starts_with("R "))
            result = parse_result(text);
        else if (line.starts_with("E "))
            failure = text;
    }
    const int status = child.end();
    if (result)
        co_return *result;
    throw std::runtime_error(failure.empty() ? died(status) : failure);
}

} // namespace domus::daemon
