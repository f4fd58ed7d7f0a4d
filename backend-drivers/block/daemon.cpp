// domus-blockd: serves the disks of all guests that have backendtype=domus. The frame is common/daemon.hpp.
#include <filesystem>

#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "backend-drivers/block/disk.hpp"
#include "backend-drivers/block/file.hpp"
#include "backend-drivers/block/nbd.hpp"
#include "backend-drivers/block/nbd_library.hpp"
#include "backend-drivers/common/daemon.hpp"
#include "backend-drivers/common/privileges.hpp"

namespace {

namespace backend = domus::backend;
namespace block = domus::block;

class BlockService final : public backend::Service {
public:
    Words words() const override {
        return {"domus-blockd",
                "Serves the disks of Domus' guests that have backendtype=domus, on image files, block devices and NBD "
                "servers.",
                block::device_type, "disks"};
    }
    void add_options(CLI::App& app) override {
        app.add_option("--journals", journals_, "folder of what a later process needs to go on")->capture_default_str();
    }
    void open(const boost::asio::any_io_executor& executor) override {
        std::filesystem::create_directories(journals_);
        ::mallopt(M_MMAP_THRESHOLD, 1 << 20); // requests' pages come from the heap, without faults anew each time
        try {
            block::NbdLibrary::get(); // later no code is loaded any more (common/system_calls.hpp)
        } catch (const std::exception& absent) {
            spdlog::debug("{}", absent.what());
        }
        storages_ =
            std::make_unique<block::AllStorages>(std::make_unique<block::FileStorages>(block::best_engine(executor)),
                                                 std::make_unique<block::NbdStorages>(executor));
    }
    void drop_rights() override {
        backend::keep_only({}); // what belongs to root can be opened still
    }
    std::unique_ptr<backend::Driver> make_driver(backend::Device& device, const Files& files) override {
        return std::make_unique<block::Disk>(device, *storages_, journal(files), files.figures);
    }
    void removed(const Files& files) override { ::unlink(journal(files).c_str()); }

private:
    std::string journal(const Files& files) const { return fmt::format("{}/{}", journals_, files.name); }

    std::string journals_ = "/run/domus/block";
    std::unique_ptr<block::Storages> storages_;
};

} // namespace

int main(int argc, char** argv) {
    BlockService service;
    return backend::run_service(service, argc, argv);
}
