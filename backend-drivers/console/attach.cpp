// See attach.hpp.
#include "backend-drivers/console/attach.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <string_view>

#include "backend-drivers/console/protocol.hpp"

namespace domus::console {
namespace {

constexpr char escape_key = 0x1d; // Ctrl-]
constexpr int reconnect_attempts = 100;
constexpr timespec reconnect_pause{0, 100'000'000};

volatile std::sig_atomic_t stop_requested = 0;

/// Raw mode for the life of the object, if standard input is a terminal; a signal ends the loop instead of the process,
/// so that the terminal is restored.
class RawTerminal {
public:
    RawTerminal() {
        struct sigaction stop {};
        stop.sa_handler = [](int) { stop_requested = 1; };
        for (std::size_t i = 0; i < std::size(signals); ++i) {
            ::sigaction(signals[i], &stop, &before_[i]);
        }
        active_ = ::isatty(STDIN_FILENO) && ::tcgetattr(STDIN_FILENO, &saved_) == 0;
        if (active_) {
            termios raw = saved_;
            ::cfmakeraw(&raw);
            ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
        }
    }
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;
    ~RawTerminal() {
        if (active_) {
            ::tcsetattr(STDIN_FILENO, TCSADRAIN, &saved_);
        }
        for (std::size_t i = 0; i < std::size(signals); ++i) {
            ::sigaction(signals[i], &before_[i], nullptr);
        }
        stop_requested = 0;
    }
    bool active() const { return active_; }

private:
    static constexpr int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
    struct sigaction before_[std::size(signals)]{};
    termios saved_{};
    bool active_ = false;
};

bool write_all(int descriptor, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t wrote = ::write(descriptor, bytes.data(), bytes.size());
        if (wrote < 0 && errno == EINTR && !stop_requested) {
            continue;
        }
        if (wrote <= 0) {
            return false;
        }
        bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
    return true;
}

/// One connection to the daemon.
class Link {
public:
    Link() = default;
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    ~Link() { close(); }

    enum class Opened { attached, refused, absent };

    /// Connects and attaches. `reason` says why not. What came after the greeting stays in `rest`.
    Opened open(const std::string& path, const AttachRequest& request, std::string& reason, std::string& rest) {
        close();
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        socket_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (socket_ < 0 || ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
            reason = std::strerror(errno);
            return Opened::absent;
        }
        if (!write_all(socket_, format(request))) {
            reason = "the daemon hung up";
            return Opened::absent;
        }
        std::string line;
        if (!read_line(line, rest)) {
            reason = "the daemon hung up";
            return Opened::absent;
        }
        if (line.substr(0, 3) == "ok ") {
            return Opened::attached;
        }
        reason = line.substr(0, 6) == "error " ? line.substr(6) : "it is no console daemon";
        return Opened::refused;
    }

    int descriptor() const { return socket_; }
    void close() {
        if (socket_ >= 0) {
            ::close(socket_);
        }
        socket_ = -1;
    }

private:
    bool read_line(std::string& line, std::string& rest) {
        char chunk[longest_line];
        while (line.find('\n') == std::string::npos) {
            const ssize_t got = ::read(socket_, chunk, sizeof chunk);
            if (got <= 0 || line.size() > 4 * longest_line) {
                return false;
            }
            line.append(chunk, static_cast<std::size_t>(got));
        }
        const auto end = line.find('\n');
        rest = line.substr(end + 1);
        line.resize(end);
        return true;
    }

    int socket_ = -1;
};

enum class Ended { by_person, by_guest };

/// Copies both ways until one side ends.
Ended copy(int socket, bool terminal, bool& input_open) {
    char chunk[4096];
    while (!stop_requested) {
        pollfd both[2] = {{socket, POLLIN, 0}, {input_open ? STDIN_FILENO : -1, POLLIN, 0}};
        if (::poll(both, 2, -1) < 0) {
            continue;
        }
        if (both[0].revents != 0) {
            const ssize_t got = ::read(socket, chunk, sizeof chunk);
            if (got <= 0) {
                return Ended::by_guest;
            }
            if (!write_all(STDOUT_FILENO, {chunk, static_cast<std::size_t>(got)})) {
                return Ended::by_person;
            }
        }
        if (both[1].revents != 0) {
            const ssize_t got = ::read(STDIN_FILENO, chunk, sizeof chunk);
            if (got <= 0) {
                input_open = false;
                if (terminal) {
                    return Ended::by_person; // the terminal itself is gone
                }
                continue;
            }
            std::string_view typed(chunk, static_cast<std::size_t>(got));
            const auto escape = terminal ? typed.find(escape_key) : std::string_view::npos;
            write_all(socket, typed.substr(0, escape));
            if (escape != std::string_view::npos) {
                return Ended::by_person;
            }
        }
    }
    return Ended::by_person;
}

} // namespace

int attach_terminal(std::uint16_t domid) {
    return attach_terminal(domid, default_socket);
}

int attach_terminal(std::uint16_t domid, const std::string& socket_path) {
    Link link;
    std::string reason, rest;
    AttachRequest request{domid, true};
    const auto first = link.open(socket_path, request, reason, rest);
    if (first != Link::Opened::attached) {
        std::fprintf(stderr, "domus console: %s%s\n", reason.c_str(),
                     first == Link::Opened::absent ? (": is domus-consoled running? (" + socket_path + ")").c_str()
                                                   : "");
        return 1;
    }
    RawTerminal terminal;
    if (terminal.active()) {
        std::fprintf(stderr, "attached to domain %u; Ctrl-] detaches\r\n", domid);
    }
    bool input_open = true;
    for (;;) {
        if (!write_all(STDOUT_FILENO, rest) ||
            copy(link.descriptor(), terminal.active(), input_open) == Ended::by_person) {
            break;
        }
        // The guest has ended, or the daemon was restarted: asking again tells which.
        request.replay = false;
        auto again = Link::Opened::absent;
        for (int i = 0; i < reconnect_attempts && again == Link::Opened::absent && !stop_requested; ++i) {
            again = link.open(socket_path, request, reason, rest);
            if (again == Link::Opened::absent) {
                ::nanosleep(&reconnect_pause, nullptr);
            }
        }
        if (again == Link::Opened::absent && !stop_requested) {
            std::fprintf(stderr, "\r\ndomus console: the console daemon does not answer any more: %s\r\n",
                         reason.c_str());
            return 1;
        }
        if (again != Link::Opened::attached) {
            break;
        }
    }
    if (terminal.active()) {
        std::fprintf(stderr, "\r\ndetached from domain %u\r\n", domid);
    }
    return 0;
}

} // namespace domus::console
