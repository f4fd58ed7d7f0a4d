// Disk images of other formats than raw: qemu-nbd reads them, one process for each disk, and domus-blockd is its
// client. It runs by itself, so that neither the end of domusd nor that of domus-blockd ends it; its files in
// /run/domus/nbd say which it is. No lock: a disk's turn is held by the caller.
#include "toolstack/engine/argument_list.hpp"
#include "toolstack/engine/descriptor.hpp"
#include "toolstack/engine/linux_host.hpp"

#include <array>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <spawn.h>
#include <stdexcept>
#include <sys/wait.h>

namespace domus::engine {

namespace {

constexpr const char* program = "qemu-nbd";

std::string content(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// Starts it. With --fork this process ends as soon as the socket answers, or with the reason on its standard error.
pid_t start(const std::vector<std::string>& words, const std::string& log) {
    const auto arguments = argument_list(words);
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&files, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    posix_spawnattr_t attributes; // a session of its own: a signal to domusd's group is none to it
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    pid_t pid = 0;
    errno = ::posix_spawnp(&pid, program, &files, &attributes, arguments.data(), environ);
    const bool started = errno == 0;
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
    return started ? pid : -1;
}

/// The process that serves this socket, if it is one of ours: process numbers are used again.
pid_t server_of(const std::string& base) {
    const std::string number = content(base + ".pid");
    const pid_t pid = number.empty() ? 0 : static_cast<pid_t>(std::strtol(number.c_str(), nullptr, 10));
    return pid > 1 && content(fmt::format("/proc/{}/cmdline", pid)).find(base + ".socket") != std::string::npos ? pid
                                                                                                                : 0;
}

} // namespace

std::string LinuxHost::image_server(const std::string& name) {
    return fmt::format("nbd+unix:///?socket={}.socket", base_of(name));
}

std::string LinuxHost::base_of(const std::string& name) const {
    return root_ + "/run/domus/nbd/" + name;
}

void LinuxHost::start_image_server(const std::string& name, const model::Disk& disk) {
    const std::string base = base_of(name);
    std::filesystem::create_directories(root_ + "/run/domus/nbd");
    end_image_server(name); // of a guest that had the same number
    std::vector<std::string> words{program,
                                   "--fork",
                                   "--persistent",
                                   "--format=" + disk.format,
                                   fmt::format("--discard={}", disk.discard ? "unmap" : "ignore"),
                                   "--socket=" + base + ".socket",
                                   "--pid-file=" + base + ".pid"};
    if (disk.read_only)
        words.emplace_back("--read-only");
    words.push_back(disk.target);
    const pid_t pid = start(words, base + ".log");
    if (pid < 0 && errno == ENOENT)
        throw std::runtime_error(fmt::format("disk {}: format {} needs the program {} in dom0, which is not installed; "
                                             "run: apt install qemu-utils libnbd0; or convert the image: qemu-img "
                                             "convert -O raw {} OUT",
                                             disk.target, disk.format, program, disk.target));
    if (pid < 0)
        throw std::runtime_error(fmt::format("disk {}: {} cannot be started: {}", disk.target, program, errno_text()));
    starting_[name] = pid;
}

bool LinuxHost::image_server_ready(const std::string& name) {
    const auto found = starting_.find(name);
    int status = 0;
    if (found == starting_.end())
        return true;
    if (::waitpid(found->second, &status, WNOHANG) == 0)
        return false;
    starting_.erase(found);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    std::string said = content(base_of(name) + ".log");
    said.erase(said.find_last_not_of(" \n") + 1);
    throw std::runtime_error(fmt::format("{} cannot serve it: {}", program, said));
}

void LinuxHost::end_image_server(const std::string& name) {
    const std::string base = base_of(name);
    if (const auto found = starting_.find(name); found != starting_.end()) {
        ::kill(found->second, SIGKILL);
        ::waitpid(found->second, nullptr, 0);
        starting_.erase(found);
    }
    if (const pid_t pid = server_of(base); pid != 0)
        ::kill(pid, SIGTERM); // it writes out what it has, and goes
}

bool LinuxHost::image_server_gone(const std::string& name) {
    const std::string base = base_of(name);
    if (server_of(base) != 0)
        return false;
    for (const char* what : {".socket", ".pid", ".log"})
        ::unlink((base + what).c_str());
    return true;
}

} // namespace domus::engine
