// domus-blockd: serves the disks of all guests that have backendtype=domus. The frame is common/daemon.hpp.
#include <cstdlib>

#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "backend-drivers/block/disk.hpp"
#include "backend-drivers/block/file.hpp"
#include "backend-drivers/block/nbd.hpp"
#include "backend-drivers/block/nbd_library.hpp"
#include "backend-drivers/block/opener.hpp"
#include "backend-drivers/common/daemon.hpp"

namespace {

namespace backend = domus::backend;
namespace block = domus::block;

class BlockService final : public backend::Service {
public:
    Words words() const override {
        return {"domus-blockd",
                "Serves the disks of Domus' guests that have backendtype=domus, on image files, block devices and NBD "
                "servers, which domus-blockd-opener, started by it, opens for it.",
                block::device_type, "disks", "domus-blockd"};
    }
    void add_options(CLI::App& app) override {
        app.add_option("--journals", journals_, "folder of what a later process needs to go on")->capture_default_str();
        app.add_option("--persistent-grants", *room_,
                       "pages of guests that may stay mapped, of all disks together; 0: none, and it is not offered")
            ->capture_default_str();
        app.add_flag("--threads", threads_, "use threads instead of io_uring, which not every administrator lets in");
    }
    void open(const Start& start) override {
        backend::make_folder(journals_, start.user);
        ::mallopt(M_MMAP_THRESHOLD, 1 << 20); // requests' pages come from the heap, without faults anew each time
        try {
            block::NbdLibrary::get(); // later no code is loaded any more (common/system_calls.hpp)
        } catch (const std::exception& absent) {
            spdlog::debug("{}", absent.what());
        }
        executor_ = start.executor;
        if (*room_ == 0) {
            room_.reset();
        }
        opener_ = std::make_shared<block::RemoteOpener>(executor_, block::start_opener(start.store), [] {
            spdlog::critical("the process that opens media is gone");
            std::_Exit(1); // who started this one starts both anew
        });
    }
    void rights_dropped() override {
        // Only now: capabilities are a thread's own, and the engine may start threads, which inherit them.
        std::unique_ptr<block::FileEngine> engine;
        if (threads_) {
            engine = std::make_unique<block::Threads>(executor_);
        } else {
            engine = block::best_engine(executor_);
        }
        storages_ = std::make_unique<block::AllStorages>(
            std::make_unique<block::FileStorages>(std::move(engine), opener_),
            std::make_unique<block::NbdStorages>(executor_, block::NbdStorages::Times(), opener_));
    }
    std::unique_ptr<backend::Driver> make_driver(backend::Device& device, const Files& files) override {
        return std::make_unique<block::Disk>(device, *storages_, journal(files), files.figures, room_);
    }
    void removed(const Files& files) override { ::unlink(journal(files).c_str()); }

private:
    std::string journal(const Files& files) const { return fmt::format("{}/{}", journals_, files.name); }

    std::string journals_ = "/run/domus/block";
    bool threads_ = false;
    block::PersistentGrants::Room room_ = std::make_shared<std::size_t>(16384);
    boost::asio::any_io_executor executor_;
    std::shared_ptr<block::Opener> opener_;
    std::unique_ptr<block::Storages> storages_;
};

} // namespace

int main(int argc, char** argv) {
    BlockService service;
    return backend::run_service(service, argc, argv);
}
