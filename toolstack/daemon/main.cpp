// domusd: owns guests and their devices, serves `domus`. One io_context, one thread.
// Killed at any moment it leaves every guest running; started again it knows them from hypervisor, xenstore and
// its state directory.
#include <utility>

#include "hypervisor/client/hypervisor.hpp"
#include "toolstack/build/build.hpp"
#include "toolstack/daemon/build_process.hpp"
#include "toolstack/daemon/server.hpp"
#include "toolstack/daemon/state_dir.hpp"
#include "toolstack/engine/descriptor.hpp"
#include "toolstack/engine/linux_host.hpp"
#include "toolstack/engine/xen.hpp"
#include "toolstack/proto/frame.hpp"

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>

namespace {

namespace asio = boost::asio;
using namespace domus;

struct Options {
    std::string socket{proto::kDefaultSocket};
    std::string state_dir = "/run/domus";
    std::string xenstore = xenstore::default_socket();
};

build::Result build_now(const build::Request& request, engine::Progress progress) {
    client::Hypervisor hypervisor; // the child's own handles
    return build::build_pv_domain(hypervisor, request, std::move(progress));
}

engine::Descriptor lock_state(const std::string& directory) {
    std::filesystem::create_directories(directory);
    const std::string path = directory + "/domusd.lock";
    engine::Descriptor lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock)
        throw std::runtime_error(fmt::format("cannot open {}: {}; run domusd as root", path, engine::errno_text()));
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
        throw std::runtime_error(fmt::format("another domusd is running (it holds {}); end it first", path));
    return lock;
}

std::unique_ptr<engine::XenHypervisor> open_hypervisor() {
    try {
        return std::make_unique<engine::XenHypervisor>();
    } catch (const std::exception& e) {
        throw std::runtime_error(fmt::format("cannot reach the hypervisor: {}; domusd runs in dom0, with xenfs and "
                                             "xen-privcmd loaded",
                                             e.what()));
    }
}

asio::awaitable<std::shared_ptr<xenstore::Client>> connect_store(const std::string& socket) {
    std::string reason;
    try {
        co_return co_await xenstore::Client::connect(socket);
    } catch (const std::exception& e) {
        reason = e.what();
    }
    throw std::runtime_error(fmt::format("cannot reach xenstore: {}; start the xenstore daemon first", reason));
}

asio::awaitable<void> serve_all(const Options& options, engine::XenHypervisor& hypervisor, int& status) {
    try {
        const auto store = co_await connect_store(options.xenstore);
        daemon::StateDir records(options.state_dir + "/guests");
        engine::LinuxHost host;
        daemon::BuildProcess builder(build_now);
        engine::Engine engine({hypervisor, *store, host, builder, records});
        co_await engine.start();
        daemon::Dispatcher dispatcher{engine, hypervisor, host, hypervisor};
        const auto executor = co_await asio::this_coro::executor;
        auto acceptor = daemon::listen_at(executor, options.socket);
        asio::co_spawn(executor, daemon::serve(acceptor, dispatcher), asio::detached);
        spdlog::info("domusd serves at {}", options.socket);
        co_await engine.run();
    } catch (const std::exception& e) {
        spdlog::error("{}", e.what());
        status = 1;
    }
}

int run(const Options& options) {
    const auto lock = lock_state(options.state_dir);
    const auto hypervisor = open_hypervisor();
    asio::io_context io(1);
    int status = 0;
    asio::signal_set signals(io, SIGTERM, SIGINT);
    signals.async_wait([&](const boost::system::error_code& failed, int) {
        if (!failed)
            io.stop();
    });
    asio::co_spawn(io, serve_all(options, *hypervisor, status), [&](std::exception_ptr) { io.stop(); });
    io.run();
    std::error_code none;
    std::filesystem::remove(options.socket, none);
    // Coroutines end with the process: unwinding them would start work on a stopped io_context.
    std::_Exit(status);
}

} // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app{"domusd: owns guests and their devices; domus is its client"};
    app.add_option("--socket", options.socket, "Where to listen")->capture_default_str();
    app.add_option("--state-dir", options.state_dir, "Where to keep what a restart must know")->capture_default_str();
    app.add_option("--xenstore", options.xenstore, "Socket of the xenstore daemon")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    std::signal(SIGPIPE, SIG_IGN);
    spdlog::set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
    spdlog::flush_on(spdlog::level::info);
    try {
        return run(options);
    } catch (const std::exception& e) {
        spdlog::error("{}", e.what());
        return 1;
    }
}
