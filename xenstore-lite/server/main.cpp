// domus-xenstored: options, pid file, background. The daemon itself is daemon.hpp.
#include <CLI/CLI.hpp>
#include <boost/asio/signal_set.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "xenstore-lite/client/client.hpp"
#include "xenstore-lite/server/daemon.hpp"
#include "xenstore-lite/server/xen_platform.hpp"

namespace {
using namespace domus::xenstore;

struct Options {
    server::DaemonOptions daemon;
    std::filesystem::path pid_file = "/var/run/xenstored/pid";
    std::vector<std::string> quotas, backend_users;
    bool background = false;
    bool no_hypervisor = false;
};

void apply_quotas(Options& options) {
    for (const auto& text : options.quotas) {
        const auto equals = text.find('=');
        std::size_t* const limit = options.daemon.limits.by_name(text.substr(0, equals));
        const auto value = equals == std::string::npos
                               ? std::nullopt
                               : wire::parse_decimal(std::string_view(text).substr(equals + 1), UINT32_MAX);
        if (!limit || !value) {
            throw std::runtime_error(
                fmt::format("--quota {}: expected NAME=NUMBER with a name of: nodes, node-size, watches, transactions, "
                            "transaction-nodes, transaction-bytes, permissions, outstanding-bytes",
                            text));
        }
        *limit = *value;
    }
}

void apply_backend_users(Options& options) {
    for (const auto& text : options.backend_users) {
        const auto equals = text.find('=');
        if (equals == std::string::npos || equals == 0) {
            throw std::runtime_error(
                fmt::format("--backend-user {}: expected USER=TYPE, as domus-netd=domus-vif", text));
        }
        options.daemon.backend_users[text.substr(0, equals)] = text.substr(equals + 1);
    }
}

/// Locks the pid file for as long as this process lives: two daemons would tear the rings apart.
void write_pid_file(const std::filesystem::path& path) {
    std::filesystem::create_directories(path.parent_path());
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0) {
        throw std::runtime_error(fmt::format("cannot open the pid file {}: {}", path.string(), std::strerror(errno)));
    }
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
        throw std::runtime_error(fmt::format("another xenstore daemon holds {}: stop it first", path.string()));
    }
    const std::string pid = fmt::format("{}\n", getpid());
    if (ftruncate(file, 0) != 0 || write(file, pid.data(), pid.size()) < 0) {
        throw std::runtime_error(fmt::format("cannot write the pid file {}: {}", path.string(), std::strerror(errno)));
    }
}

/// Forks; the parent waits until the child serves and ends with its success. Returns, in the child, where to say so.
int go_to_background() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        throw std::runtime_error(fmt::format("cannot go to the background: {}", std::strerror(errno)));
    }
    const pid_t child = fork();
    if (child < 0) {
        throw std::runtime_error(fmt::format("cannot go to the background: {}", std::strerror(errno)));
    }
    if (child != 0) {
        close(ends[1]);
        char ready = 0;
        _exit(read(ends[0], &ready, 1) == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    close(ends[0]);
    setsid();
    return ends[1];
}

void serve(Options& options) {
    const int ready = options.background ? go_to_background() : -1;
    write_pid_file(options.pid_file);
    boost::asio::io_context context(1);
    std::unique_ptr<server::Platform> platform;
    if (!options.no_hypervisor) {
        platform = server::open_xen_platform();
    }
    server::Daemon daemon(context, options.daemon, platform.get());
    boost::asio::signal_set signals(context, SIGTERM, SIGINT);
    signals.async_wait([&](boost::system::error_code, int) { context.stop(); });
    daemon.start();
    if (ready >= 0) {
        if (write(ready, "r", 1) != 1) {
            spdlog::warn("nobody waits for this daemon to come up");
        }
        close(ready);
    }
    context.run();
    daemon.stop();
}
} // namespace

int main(int argc, char** argv) {
    Options options;
    options.daemon.socket = default_socket();
    CLI::App app{"domus-xenstored: the store that domains and tools share.\n"
                 "Its state survives a crash or a restart, so it may be restarted at any time."};
    app.add_option("--socket", options.daemon.socket, "unix socket of domain 0's tools")->capture_default_str();
    app.add_option("--pid-file", options.pid_file, "holds the process number; locked while running")
        ->capture_default_str();
    app.add_option("--state", options.daemon.state_folder, "folder of the journal, in a tmpfs")->capture_default_str();
    app.add_option("--quota", options.quotas, "limit of unprivileged domains, as NAME=NUMBER; may be repeated");
    app.add_option("--backend-user", options.backend_users,
                   "USER=TYPE: a backend's daemon that is this user writes the state of its devices (TYPE as "
                   "domus-vif; empty: it reads only). May be repeated; domus-blockd, domus-consoled and domus-netd are "
                   "known");
    app.add_flag("--background", options.background, "return once requests are served");
    app.add_flag("--no-hypervisor", options.no_hypervisor, "serve the socket only");
    CLI11_PARSE(app, argc, argv);
    std::signal(SIGPIPE, SIG_IGN);
    spdlog::set_pattern("domus-xenstored: %v");
    try {
        apply_quotas(options);
        apply_backend_users(options);
        serve(options);
    } catch (const std::exception& error) {
        std::cerr << "domus-xenstored: " << error.what() << "\n";
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
