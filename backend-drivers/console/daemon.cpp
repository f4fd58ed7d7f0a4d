// domus-consoled: serves the PV consoles of all guests. One process, one io_context, no threads.
// The frame is common/daemon.hpp. It keeps nothing that matters: rings live in the guests, logs in files. Killed at any
// moment and started again, it goes on where the rings are.
#include <filesystem>

#include <sys/syscall.h>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <spdlog/spdlog.h>

#include "backend-drivers/common/daemon.hpp"
#include "backend-drivers/common/privileges.hpp"
#include "backend-drivers/common/system_calls.hpp"
#include "backend-drivers/console/discovery.hpp"
#include "backend-drivers/console/server.hpp"

namespace {

namespace asio = boost::asio;
using namespace domus::console;

struct Options {
    std::string socket = default_socket;
    std::string log_folder = "/var/log/domus/console";
    std::uint64_t log_limit_kib = 4096;
    std::string store = domus::xenstore::default_socket();
    std::string user = "domus-consoled";
    bool verbose = false;
};

asio::awaitable<void> serve(Options options) {
    const auto executor = co_await asio::this_coro::executor;
    const auto user = domus::backend::find_user(options.user);
    domus::backend::make_folder(options.log_folder, user);
    std::filesystem::create_directories(std::filesystem::path(options.socket).parent_path());
    auto acceptor = listen(executor, options.socket);
    domus::backend::GuestAccess access{domus::client::open_grants(),
                                       std::make_shared<domus::client::EventChannels>(executor)};
    Discovery discovery(executor, {options.log_folder, options.log_limit_kib * 1024}, std::move(access));
    domus::backend::become(user, {});
    // As that user, whom the store lets only read. The terminals' socket stays root's: nobody else may connect.
    const auto store = co_await domus::xenstore::Client::connect(options.store);
    discovery.use(store);
    domus::backend::allow_system_calls({SYS_accept, SYS_accept4});
    asio::co_spawn(executor,
                   accept_terminals(std::move(acceptor), [&](std::uint16_t domid) { return discovery.find(domid); }),
                   [](std::exception_ptr failure) {
                       if (failure) {
                           std::rethrow_exception(failure);
                       }
                   });
    spdlog::info("serving consoles; terminals attach on {}", options.socket);
    co_await discovery.run();
}

} // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app{"Serves the consoles of Domus' guests: a log per guest, terminals through `domus console`."};
    app.add_option("--socket", options.socket, "where terminals attach")->capture_default_str();
    app.add_option("--log-dir", options.log_folder, "folder of the guests' logs")->capture_default_str();
    app.add_option("--log-limit", options.log_limit_kib, "KiB per log file; one older file is kept")
        ->capture_default_str()
        ->check(CLI::Range(16u, 1u << 20));
    app.add_option("--xenstore", options.store, "xenstore's socket")->capture_default_str();
    app.add_option("--user", options.user, "who it becomes once its devices are open; the logs are his")
        ->capture_default_str();
    app.add_flag("--verbose", options.verbose, "say more");
    CLI11_PARSE(app, argc, argv);

    return domus::backend::run_program("domus-consoled", options.verbose,
                                       [&](const asio::any_io_executor&) { return serve(options); });
}
