// A program that is started and looked after without waiting for it: domusd has one thread. What it says goes to a
// file in memory, so that nobody has to read it meanwhile. No lock.
#include "toolstack/engine/argument_list.hpp"
#include "toolstack/engine/descriptor.hpp"
#include "toolstack/engine/linux_host.hpp"

#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/wait.h>

namespace domus::engine {

namespace {

constexpr std::size_t longest_answer = 4096;

class LinuxCommand final : public Command {
public:
    LinuxCommand(pid_t pid, Descriptor said) : pid_(pid), said_(std::move(said)) {}
    ~LinuxCommand() override {
        if (pid_ != 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
    }
    std::optional<Ended> ended() override {
        int status = 0;
        const pid_t found = ::waitpid(pid_, &status, WNOHANG);
        if (found == 0)
            return std::nullopt;
        pid_ = 0;
        if (found < 0) // somebody else has waited for it: how it ended is not known, so not well
            return Ended{128, "how it ended is not known: " + errno_text()};
        Ended out;
        out.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        out.said.resize(longest_answer);
        const ssize_t size = ::pread(said_.get(), out.said.data(), out.said.size(), 0);
        out.said.resize(size > 0 ? std::size_t(size) : 0);
        return out;
    }

private:
    pid_t pid_;
    Descriptor said_;
};

} // namespace

std::unique_ptr<Command> LinuxHost::start_command(const std::vector<std::string>& words) {
    Descriptor said(::memfd_create("output", MFD_CLOEXEC));
    if (!said)
        throw std::runtime_error(fmt::format("{} cannot be started: {}", words.front(), errno_text()));
    const auto arguments = argument_list(words);
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&files, said.get(), 1);
    ::posix_spawn_file_actions_adddup2(&files, said.get(), 2);
    pid_t pid = 0;
    const int failed = ::posix_spawnp(&pid, arguments.front(), &files, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    if (failed == ENOENT)
        return nullptr;
    if (failed != 0)
        throw std::runtime_error(fmt::format("{} cannot be started: {}", words.front(), errno_text(failed)));
    return std::make_unique<LinuxCommand>(pid, std::move(said));
}

} // namespace domus::engine
