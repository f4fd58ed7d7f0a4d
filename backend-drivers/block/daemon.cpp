// domus-blockd: serves the disks of all guests that have backendtype=domus. One process, one io_context, no
// threads. Its state is in the store and in the guests' rings: killed at any moment and started again, it goes on
// there.
#include <csignal>
#include <filesystem>

#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "backend-drivers/block/disk.hpp"
#include "backend-drivers/block/file.hpp"
#include "backend-drivers/common/directory.hpp"
#include "backend-drivers/common/privileges.hpp"

namespace {

namespace asio = boost::asio;
namespace backend = domus::backend;
using domus::block::Disk;
using domus::block::FileStorages;

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

/// Nothing can be served without the store.
void end_if(const std::exception_ptr& failure) {
    if (failure) {
        end(failure);
    }
}

struct Options {
    std::string store = domus::xenstore::default_socket();
    std::string figures = backend::stats_folder;
    std::string journals = "/run/domus/block";
    bool verbose = false;
};

class Daemon {
public:
    Daemon(asio::any_io_executor executor, Options options)
        : executor_(std::move(executor)), options_(std::move(options)) {}

    asio::awaitable<void> run() {
        access_ = backend::open_guest_access(executor_);
        store_ = co_await domus::xenstore::Client::connect(options_.store);
        backend::keep_only({}); // what belongs to root can be opened still
        auto home = co_await backend::own_home(*store_);
        backend::Directory directory(store_, std::move(home), domus::block::device_type,
                                     [this](backend::DeviceId id) { serve(std::move(id)); });
        directory_ = &directory;
        spdlog::info("serving disks");
        co_await directory.run();
    }

private:
    void serve(backend::DeviceId id) { asio::co_spawn(executor_, life_of(std::move(id)), end_if); }

    asio::awaitable<void> life_of(backend::DeviceId id) {
        const std::string name = fmt::format("{}-{}-{}", id.type, id.domid, id.devid);
        const std::string journal = fmt::format("{}/{}", options_.journals, name);
        {
            backend::Device device(store_, access_, id, [&](backend::Device& made) {
                return std::make_unique<Disk>(made, storages_, journal, fmt::format("{}/{}", options_.figures, name));
            });
            co_await device.run();
        }
        ::unlink(journal.c_str());
        co_await directory_->forget(id);
    }

    asio::any_io_executor executor_;
    Options options_;
    FileStorages storages_{executor_};
    backend::GuestAccess access_;
    std::shared_ptr<domus::xenstore::Client> store_;
    backend::Directory* directory_ = nullptr;
};

} // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app{"Serves the disks of Domus' guests that have backendtype=domus, on image files and block devices."};
    app.add_option("--xenstore", options.store, "xenstore's socket")->capture_default_str();
    app.add_option("--figures", options.figures, "folder of the devices' figures")->capture_default_str();
    app.add_option("--journals", options.journals, "folder of what a later process needs to go on")
        ->capture_default_str();
    app.add_flag("--verbose", options.verbose, "say more");
    CLI11_PARSE(app, argc, argv);

    spdlog::set_default_logger(spdlog::stderr_logger_st("domus-blockd"));
    spdlog::set_pattern("%n: %l: %v");
    spdlog::set_level(options.verbose ? spdlog::level::debug : spdlog::level::info);
    std::signal(SIGPIPE, SIG_IGN);
    try {
        std::filesystem::create_directories(options.figures);
        std::filesystem::create_directories(options.journals);
        ::mallopt(M_MMAP_THRESHOLD, 1 << 20); // requests' pages come from the heap, without faults anew each time
        asio::io_context context(1);
        asio::signal_set signals(context, SIGTERM, SIGINT);
        signals.async_wait([](auto, int) { end(nullptr); });
        Daemon daemon(context.get_executor(), options);
        asio::co_spawn(context, daemon.run(), end);
        context.run();
    } catch (...) {
        end(std::current_exception());
    }
}
