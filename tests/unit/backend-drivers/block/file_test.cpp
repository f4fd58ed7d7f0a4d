// Files through each engine (io_uring where this kernel has it): data, flush, holes, the end of the file, the lock that
// keeps late writes out.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend-drivers/block/file.hpp"
#include "tests/unit/backend-drivers/block/one_medium.hpp"

namespace domus::block {
namespace {

enum class Engine { Best, Threads, InPlace };

struct FileTest : testing::TestWithParam<Engine>, test::OneMedium {
    std::string path = testing::TempDir() + "domus-image-" + std::to_string(::getpid());
    std::unique_ptr<FileStorages> storages;

    void SetUp() override {
        std::ofstream(path).close();
        std::filesystem::resize_file(path, 16 * page_size + 100);
        storages = std::make_unique<FileStorages>(engine(), std::make_shared<OwnOpener>());
    }
    void TearDown() override {
        disk.reset();
        storages.reset();
        std::error_code gone; // /proc/self/fd/N is no file of ours
        std::filesystem::remove(path, gone);
    }
    std::unique_ptr<FileEngine> engine() {
        switch (GetParam()) {
        case Engine::Threads:
            return std::make_unique<Threads>(io.get_executor());
        case Engine::InPlace:
            return std::make_unique<InPlace>();
        default:
            return best_engine(io.get_executor());
        }
    }
    void open() {
        try_open(*storages, {path, false, true});
        ASSERT_EQ(failure, "");
    }
};

TEST_P(FileTest, WhatIsWrittenIsRead) {
    open();
    EXPECT_EQ(disk->medium().bytes, 16 * page_size);
    const int discarded = write_read_discard();
    if (discarded != -EOPNOTSUPP) { // not every file system has holes
        EXPECT_EQ(discarded, 0);
        EXPECT_EQ(run(Kind::Read, page_size, page_size), 0);
        EXPECT_EQ(page[0], 0);
    }
}

TEST_P(FileTest, AFileThatBecameShorterIsAnError) {
    open();
    std::filesystem::resize_file(path, 2 * page_size);
    EXPECT_EQ(run(Kind::Read, page_size, 4 * page_size), -EIO);
    EXPECT_EQ(run(Kind::Read, 8 * page_size, page_size), -EIO);
}

TEST_P(FileTest, AFileThatBecameLongerIsMeasured) {
    open();
    std::filesystem::resize_file(path, 32 * page_size);
    disk->measure();
    EXPECT_EQ(disk->medium().bytes, 32 * page_size);
    EXPECT_EQ(run(Kind::Write, 31 * page_size, page_size), 0);
}

TEST_P(FileTest, AnotherProcessMustHaveLetGo) {
    const int other = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_EQ(::flock(other, LOCK_EX), 0);
    begin_open(*storages, {path, false, true});
    const auto soon = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
    EXPECT_TRUE(until([&] { return std::chrono::steady_clock::now() > soon; }));
    EXPECT_EQ(disk, nullptr);
    ::close(other);
    EXPECT_TRUE(until([&] { return disk != nullptr; })) << failure;
}

TEST_P(FileTest, WhatIsNoDiskIsRefused) {
    try_open(*storages, {"/nowhere/at-all", false, true});
    EXPECT_EQ(failure, "disk /nowhere/at-all: No such file or directory");
    std::filesystem::resize_file(path, 511);
    try_open(*storages, {path, true, true});
    EXPECT_NE(failure.find("smaller than a sector"), std::string::npos) << failure;
}

TEST_P(FileTest, AFileInMemoryShowsItsBytesButNoHoles) {
    std::filesystem::remove(path);
    const int memory = ::memfd_create("domus-image", 0); // a file of tmpfs wherever temporary files are
    path = "/proc/self/fd/" + std::to_string(memory);
    std::filesystem::resize_file(path, 600 * page_size);
    open();
    EXPECT_EQ(disk->bytes(0, page_size), nullptr);
    std::memset(page, 0x3c, 2 * page_size);
    EXPECT_EQ(run(Kind::Write, page_size, 2 * page_size), 0);
    const std::uint8_t* there = disk->bytes(page_size + 512, page_size);
    ASSERT_NE(there, nullptr);
    EXPECT_EQ(*there, 0x3c);
    EXPECT_EQ(disk->bytes(page_size, 3 * page_size), nullptr) << "a hole at the end";
    EXPECT_EQ(disk->bytes(599 * page_size, 2 * page_size), nullptr) << "the file's end";
    EXPECT_EQ(run(Kind::Discard, 2 * page_size, page_size), 0);
    EXPECT_EQ(disk->bytes(page_size, 2 * page_size), nullptr);
    EXPECT_NE(disk->bytes(page_size, page_size), nullptr);
    std::filesystem::resize_file(path, 700 * page_size);
    disk->measure();
    EXPECT_EQ(run(Kind::Write, 699 * page_size, page_size), 0);
    EXPECT_NE(disk->bytes(699 * page_size, page_size), nullptr);
    ::close(memory);
}

TEST_P(FileTest, AFileThatIsNotInMemoryHasNoBytesToShow) {
    std::filesystem::remove(path);
    path = "/var/tmp/domus-image-" + std::to_string(::getpid()); // kept over a restart, so not in memory
    std::ofstream(path).close();
    std::filesystem::resize_file(path, 64 * page_size);
    open();
    EXPECT_EQ(run(Kind::Write, 0, page_size), 0);
    EXPECT_EQ(disk->bytes(0, page_size), nullptr);
}

INSTANTIATE_TEST_SUITE_P(, FileTest, testing::Values(Engine::Best, Engine::Threads, Engine::InPlace));

} // namespace
} // namespace domus::block
