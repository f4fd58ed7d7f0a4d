// The program that reads images of other formats, as it is: qemu-nbd is started, answers, and ends.
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include <gmock/gmock.h>
#include <unistd.h>

#include "toolstack/engine/linux_host.hpp"

namespace domus::engine {
namespace {

struct ImageServerTest : testing::Test {
    std::string root = testing::TempDir() + "domus-images-" + std::to_string(::getpid());
    LinuxHost host{root};
    model::Disk disk;

    void SetUp() override {
        std::filesystem::create_directories(root);
        disk.target = root + "/image";
        disk.format = "qcow2";
    }
    void TearDown() override {
        host.end_image_server("1-2");
        until([&] { return host.image_server_gone("1-2"); });
        std::filesystem::remove_all(root);
    }
    static bool until(const std::function<bool()>& so) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        while (!so()) {
            if (std::chrono::steady_clock::now() > end) {
                return false;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return true;
    }
    std::size_t left() {
        std::error_code none;
        return static_cast<std::size_t>(std::distance(
            std::filesystem::directory_iterator(root + "/run/domus/nbd", none), std::filesystem::directory_iterator()));
    }
};

TEST_F(ImageServerTest, ServesUntilItIsEnded) {
    ASSERT_EQ(std::system(("qemu-img create -q -f qcow2 " + disk.target + " 1M").c_str()), 0);
    host.start_image_server("1-2", disk);
    ASSERT_TRUE(until([&] { return host.image_server_ready("1-2"); }));
    EXPECT_TRUE(std::filesystem::is_socket(root + "/run/domus/nbd/1-2.socket"));
    EXPECT_EQ(host.image_server("1-2"), "nbd+unix:///?socket=" + root + "/run/domus/nbd/1-2.socket");
    LinuxHost later(root); // domusd came back
    EXPECT_FALSE(later.image_server_gone("1-2"));
    later.end_image_server("1-2");
    EXPECT_TRUE(until([&] { return later.image_server_gone("1-2"); }));
    EXPECT_EQ(left(), 0u);
}

TEST_F(ImageServerTest, SaysWhatIsWrongWithTheImage) {
    std::ofstream(disk.target) << "rubbish";
    host.start_image_server("1-2", disk);
    try {
        until([&] { return host.image_server_ready("1-2"); });
        FAIL() << "rubbish is served";
    } catch (const std::runtime_error& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr("qcow2"));
    }
    host.end_image_server("1-2");
    EXPECT_TRUE(host.image_server_gone("1-2"));
    EXPECT_EQ(left(), 0u);
}

TEST_F(ImageServerTest, SaysWhatToInstall) {
    const std::string path = std::getenv("PATH");
    ::setenv("PATH", root.c_str(), 1);
    try {
        host.start_image_server("1-2", disk);
        FAIL() << "a program that is not there was started";
    } catch (const std::runtime_error& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr("apt install qemu-utils"));
    }
    ::setenv("PATH", path.c_str(), 1);
}

} // namespace
} // namespace domus::engine
