// See daemon.hpp.
#include "backend-drivers/common/daemon.hpp"

#include <csignal>
#include <filesystem>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "backend-drivers/common/directory.hpp"
#include "backend-drivers/common/system_calls.hpp"

namespace domus::backend {

namespace {

/// Whatever is connected is left as it is: the next process goes on there.
[[noreturn]] void end(const std::exception_ptr& failure) {
    try {
        if (failure) {
            std::rethrow_exception(failure);
        }
    } catch (const std::exception& error) {
        spdlog::critical("{}", error.what());
    }
    std::_Exit(failure ? 1 : 0);
}

asio::awaitable<void> life_of(Service& service, const Serving& serving, Directory& directory, DeviceId id) {
    Service::Files files;
    files.name = fmt::format("{}-{}-{}", id.type, id.domid, id.devid);
    files.figures = fmt::format("{}/{}/{}-{}", serving.figures, id.type, id.domid, id.devid);
    {
        Device device(serving.store, serving.access, id,
                      [&](Device& made) { return service.make_driver(made, files); });
        co_await device.run();
    }
    service.removed(files);
    co_await directory.forget(id);
}

struct Options {
    std::string store = xenstore::default_socket();
    std::string figures = stats_folder;
    std::string user;
    bool verbose = false;
};

/// A driver domain's way to the store: its kernel lets root only open it. The socket is for the user, whom the store
/// lets do less than root (xenstore-lite/server/peer.hpp).
bool is_device(const std::string& path) {
    return std::filesystem::is_character_file(path);
}

asio::awaitable<void> run(Service& service, asio::any_io_executor executor, Options options) {
    const User user = find_user(options.user);
    make_folder(fmt::format("{}/{}", options.figures, service.words().type), user);
    Serving serving{.executor = executor, .figures = options.figures, .device_lost = end};
    service.open({executor, user, options.store});
    serving.access = open_guest_access(executor);
    const bool before = is_device(options.store);
    if (before) {
        serving.store = co_await xenstore::Client::connect(options.store);
    }
    become(user, service.capabilities());
    service.rights_dropped();
    if (!before) {
        serving.store = co_await xenstore::Client::connect(options.store);
    }
    allow_system_calls();
    serving.home = co_await own_home(*serving.store);
    if (const auto domid = to_number(std::string_view(serving.home).substr(serving.home.rfind('/') + 1))) {
        serving.access.grants->set_own_domain(static_cast<std::uint16_t>(*domid));
    }
    spdlog::info("serving {}", service.words().devices);
    co_await serve_devices(service, std::move(serving));
}

} // namespace

asio::awaitable<void> serve_devices(Service& service, Serving serving) {
    Directory* found_by = nullptr;
    Directory directory(serving.store, serving.home, service.words().type, [&](DeviceId id) {
        asio::co_spawn(serving.executor, life_of(service, serving, *found_by, std::move(id)),
                       [&serving](const std::exception_ptr& failure) {
                           if (failure) {
                               serving.device_lost(failure); // nothing can be served without the store
                           }
                       });
    });
    found_by = &directory;
    co_await directory.run();
}

int run_program(const char* program, bool verbose,
                const std::function<asio::awaitable<void>(asio::any_io_executor)>& work) {
    spdlog::set_default_logger(spdlog::stderr_logger_st(program));
    spdlog::set_pattern("%n: %l: %v");
    spdlog::set_level(verbose ? spdlog::level::debug : spdlog::level::info);
    std::signal(SIGPIPE, SIG_IGN);
    try {
        asio::io_context context(1);
        asio::signal_set signals(context, SIGTERM, SIGINT);
        signals.async_wait([](auto, int) { end(nullptr); });
        asio::co_spawn(context, work(context.get_executor()), end);
        context.run();
    } catch (...) {
        end(std::current_exception());
    }
    return 0;
}

int run_service(Service& service, int argc, char** argv) {
    Options options;
    options.user = service.words().user;
    CLI::App app{service.words().about};
    app.add_option("--xenstore", options.store, "xenstore's socket")->capture_default_str();
    app.add_option("--figures", options.figures, "folder of the devices' figures")->capture_default_str();
    app.add_option("--user", options.user, "who it becomes once its devices are open")->capture_default_str();
    app.add_flag("--verbose", options.verbose, "say more");
    service.add_options(app);
    CLI11_PARSE(app, argc, argv);

    return run_program(service.words().program, options.verbose,
                       [&](asio::any_io_executor executor) { return run(service, std::move(executor), options); });
}

} // namespace domus::backend
