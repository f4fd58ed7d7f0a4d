// Files through each engine (io_uring where this kernel has it): data, flush, holes, the end of the file, the lock that
// keeps late writes out.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backend-drivers/block/file.hpp"

namespace domus::block {
namespace {

struct Operation : Io {
    void done(int with) override { result = with; }
    int result = 1;
};

enum class Engine { Best, Threads, InPlace };

struct FileTest : testing::TestWithParam<Engine> {
    boost::asio::io_context io{1};
    std::string path = testing::TempDir() + "domus-image-" + std::to_string(::getpid());
    std::unique_ptr<FileStorages> storages;
    std::unique_ptr<Storage> disk;
    std::string failure;
    std::uint8_t* page = static_cast<std::uint8_t*>(std::aligned_alloc(page_size, 16 * page_size));

    void SetUp() override {
        std::ofstream(path).close();
        std::filesystem::resize_file(path, 16 * page_size + 100);
        storages = std::make_unique<FileStorages>(engine());
    }
    void TearDown() override {
        disk.reset();
        storages.reset();
        std::filesystem::remove(path);
        std::free(page);
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
    void begin_open(Spec spec) {
        boost::asio::co_spawn(io, storages->open(std::move(spec)),
                              [this](const std::exception_ptr& error, std::unique_ptr<Storage> made) {
                                  disk = std::move(made);
                                  try {
                                      if (error) {
                                          std::rethrow_exception(error);
                                      }
                                  } catch (const std::exception& thrown) {
                                      failure = thrown.what();
                                  }
                              });
    }
    bool until(const std::function<bool()>& so) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!so() && std::chrono::steady_clock::now() < end) {
            io.restart();
            io.run_one_for(std::chrono::milliseconds(10));
        }
        return so();
    }
    void open() {
        begin_open({path, false, true});
        ASSERT_TRUE(until([&] { return disk != nullptr || !failure.empty(); }));
        ASSERT_EQ(failure, "");
    }
    int run(Kind kind, std::uint64_t offset, std::uint64_t length) {
        Operation operation;
        operation.kind = kind;
        operation.offset = offset;
        operation.length = length;
        operation.data = page;
        disk->start(operation);
        disk->submit();
        EXPECT_TRUE(until([&] { return operation.result != 1; }));
        return operation.result;
    }
};

TEST_P(FileTest, WhatIsWrittenIsRead) {
    open();
    EXPECT_EQ(disk->medium().bytes, 16 * page_size);
    std::memset(page, 0x3c, 8 * page_size);
    EXPECT_EQ(run(Kind::Write, 512, 8 * page_size), 0);
    EXPECT_EQ(run(Kind::Flush, 0, 0), 0);
    std::memset(page, 0, 8 * page_size);
    EXPECT_EQ(run(Kind::Read, 0, 4 * page_size), 0);
    EXPECT_EQ(page[511], 0);
    EXPECT_EQ(page[512], 0x3c);
    const int discarded = run(Kind::Discard, page_size, page_size);
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
    begin_open({path, false, true});
    const auto soon = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
    EXPECT_TRUE(until([&] { return std::chrono::steady_clock::now() > soon; }));
    EXPECT_EQ(disk, nullptr);
    ::close(other);
    EXPECT_TRUE(until([&] { return disk != nullptr; })) << failure;
}

TEST_P(FileTest, WhatIsNoDiskIsRefused) {
    begin_open({"/nowhere/at-all", false, true});
    ASSERT_TRUE(until([&] { return !failure.empty(); }));
    EXPECT_EQ(failure, "disk /nowhere/at-all: No such file or directory");
    failure.clear();
    std::filesystem::resize_file(path, 511);
    begin_open({path, true, true});
    ASSERT_TRUE(until([&] { return !failure.empty(); }));
    EXPECT_NE(failure.find("smaller than a sector"), std::string::npos) << failure;
}

TEST_P(FileTest, AFileInMemoryShowsItsBytesButNoHoles) {
    std::filesystem::remove(path);
    path = "/dev/shm/domus-image-" + std::to_string(::getpid());
    struct statfs system {};
    if (::statfs("/dev/shm", &system) != 0 || system.f_type != TMPFS_MAGIC) {
        GTEST_SKIP() << "/dev/shm is no tmpfs here";
    }
    std::ofstream(path).close();
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
}

TEST_P(FileTest, AFileThatIsNotInMemoryHasNoBytesToShow) {
    struct statfs system {};
    if (::statfs(path.substr(0, path.rfind('/')).c_str(), &system) != 0 || system.f_type == TMPFS_MAGIC) {
        GTEST_SKIP() << "temporary files are in memory here";
    }
    open();
    EXPECT_EQ(run(Kind::Write, 0, page_size), 0);
    EXPECT_EQ(disk->bytes(0, page_size), nullptr);
}

INSTANTIATE_TEST_SUITE_P(, FileTest, testing::Values(Engine::Best, Engine::Threads, Engine::InPlace));

} // namespace
} // namespace domus::block
