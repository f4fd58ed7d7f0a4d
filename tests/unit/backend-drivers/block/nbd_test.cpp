// Disks on real NBD servers, nbdkit and qemu-nbd, each started by its test: data, errors of the medium, qcow2, servers
// that die and come back, or do not.
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend-drivers/block/nbd.hpp"
#include "tests/unit/backend-drivers/block/one_medium.hpp"

namespace domus::block {
namespace {

using test::Operation;
using test::pending;
using Words = std::vector<std::string>;

/// A program that runs until it is killed, at the latest with this object.
class Program {
public:
    explicit Program(const Words& words) {
        std::vector<char*> arguments;
        for (const auto& word : words) {
            arguments.push_back(const_cast<char*>(word.c_str()));
        }
        arguments.push_back(nullptr);
        EXPECT_EQ(::posix_spawnp(&pid_, arguments[0], nullptr, nullptr, arguments.data(), environ), 0) << words[0];
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program() { kill(); }
    void kill() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            wait();
        }
    }
    int wait() {
        int status = 0;
        ::waitpid(std::exchange(pid_, -1), &status, 0);
        return status;
    }

private:
    pid_t pid_ = -1;
};

struct NbdTest : testing::Test, test::OneMedium {
    std::string folder = testing::TempDir() + "domus-nbd-" + std::to_string(::getpid());
    std::string socket = folder + "/socket", image = folder + "/image", uri = "nbd+unix:///?socket=" + socket;
    std::shared_ptr<Opener> opener = std::make_shared<OwnOpener>();
    NbdStorages storages{io.get_executor(), {std::chrono::seconds(20), std::chrono::milliseconds(20)}, opener};
    std::unique_ptr<Program> server;

    void SetUp() override { std::filesystem::create_directories(folder); }
    void TearDown() override {
        disk.reset();
        io.poll();
        server.reset();
        std::filesystem::remove_all(folder);
    }
    void serve(Words words) {
        server.reset();
        std::filesystem::remove(socket);
        server = std::make_unique<Program>(words);
    }
    void serve_nbdkit(const Words& more) {
        Words words{"nbdkit", "-f", "--unix", socket};
        words.insert(words.end(), more.begin(), more.end());
        serve(words);
    }
    void serve_file(std::uintmax_t size = 1 << 20) {
        ::close(::open(image.c_str(), O_CREAT | O_CLOEXEC, 0600));
        std::filesystem::resize_file(image, size);
        serve_nbdkit({"file", image});
    }
    void try_open(bool read_only = false) { OneMedium::try_open(storages, {uri, read_only, true}); }
    void open() {
        try_open();
        ASSERT_EQ(failure, "");
    }
};

TEST_F(NbdTest, WhatIsWrittenIsRead) {
    serve_file();
    open();
    EXPECT_EQ(disk->medium().bytes, 1U << 20);
    EXPECT_TRUE(disk->medium().discard);
    EXPECT_EQ(write_read_discard(), 0);
}

TEST_F(NbdTest, Qcow2) {
    Program make({"qemu-img", "create", "-q", "-f", "qcow2", image, "1M"});
    ASSERT_EQ(make.wait(), 0);
    serve({"qemu-nbd", "--persistent", "--format=qcow2", "--discard=unmap", "--socket=" + socket, image});
    open();
    EXPECT_EQ(disk->medium().bytes, 1U << 20);
    EXPECT_EQ(write_read_discard(), 0);
}

TEST_F(NbdTest, WithoutAnOpenerLibnbdConnects) {
    storages = NbdStorages(io.get_executor(), {std::chrono::seconds(20), std::chrono::milliseconds(20)});
    serve_file();
    open();
    EXPECT_EQ(write_read_discard(), 0);
}

TEST_F(NbdTest, TheExportIsTheOneThatIsNamed) {
    Program make({"qemu-img", "create", "-q", "-f", "raw", image, "1M"});
    ASSERT_EQ(make.wait(), 0);
    serve({"qemu-nbd", "--persistent", "--format=raw", "--export-name=disk one", "--socket=" + socket, image});
    uri = "nbd+unix:///disk%20one?socket=" + socket;
    open();
    EXPECT_EQ(disk->medium().bytes, 1U << 20);
    disk.reset();
    storages = NbdStorages(io.get_executor(), {std::chrono::milliseconds(200), std::chrono::milliseconds(20)}, opener);
    uri = "nbd+unix:///another?socket=" + socket;
    try_open();
    EXPECT_NE(failure, "");
}

TEST_F(NbdTest, ManyAtOnce) {
    serve_file();
    open();
    std::vector<Operation> operations(64);
    for (std::size_t i = 0; i < operations.size(); ++i) {
        begin(operations[i], i % 2 == 0 ? Kind::Write : Kind::Read, i * page_size, 16 * page_size);
    }
    EXPECT_TRUE(until([&] {
        return std::all_of(operations.begin(), operations.end(), [](const auto& o) { return o.result != pending; });
    }));
    for (const auto& operation : operations) {
        EXPECT_EQ(operation.result, 0);
    }
}

TEST_F(NbdTest, ErrorsOfTheMedium) {
    serve_nbdkit({"--filter=error", "memory", "1M", "error-pread=ENOSPC", "error-pwrite=EIO", "error-rate=0",
                  "error-pread-rate=1", "error-pwrite-rate=1"});
    open();
    EXPECT_EQ(run(Kind::Read, 0, page_size), -ENOSPC);
    EXPECT_EQ(run(Kind::Write, 0, page_size), -EIO);
    EXPECT_EQ(run(Kind::Flush), 0);
}

TEST_F(NbdTest, WhatCannotBeServedIsRefused) {
    serve_nbdkit({"-r", "memory", "1M"});
    try_open();
    EXPECT_NE(failure.find("use access=ro"), std::string::npos) << failure;
    try_open(true);
    EXPECT_EQ(failure, "");
    EXPECT_TRUE(disk->medium().read_only);
    disk.reset();
    serve_nbdkit({"--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=4096", "blocksize-preferred=4096"});
    try_open();
    EXPECT_NE(failure.find("blocks of 4096 bytes"), std::string::npos) << failure;
}

TEST_F(NbdTest, AServerThatComesBack) {
    serve_file();
    open();
    EXPECT_EQ(run(Kind::Write, 0, page_size), 0);
    EXPECT_EQ(run(Kind::Flush), 0);
    server->kill();
    Operation read, flush;
    begin(read, Kind::Read, 0, page_size);
    begin(flush, Kind::Flush, 0, 0);
    const auto soon = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
    until([&] { return std::chrono::steady_clock::now() > soon; });
    EXPECT_EQ(read.result, pending);
    serve_file();
    EXPECT_TRUE(until([&] { return read.result != pending && flush.result != pending; }));
    EXPECT_EQ(read.result, 0);
    EXPECT_EQ(flush.result, 0) << "all was flushed before";
    EXPECT_EQ(write_read_discard(), 0);
}

TEST_F(NbdTest, WhatADeadServerMayHaveLostIsNoSuccessfulFlush) {
    serve_file();
    open();
    EXPECT_EQ(run(Kind::Write, 0, page_size), 0);
    serve_file(); // killed, and another
    EXPECT_EQ(run(Kind::Read, 0, page_size), 0);
    EXPECT_EQ(run(Kind::Flush), -EIO);
    EXPECT_EQ(run(Kind::Flush), 0);
}

TEST_F(NbdTest, AServerThatStaysAway) {
    storages = NbdStorages(io.get_executor(), {std::chrono::milliseconds(200), std::chrono::milliseconds(20)}, opener);
    serve_file();
    open();
    server->kill();
    EXPECT_EQ(run(Kind::Read, 0, page_size), -EIO);
    EXPECT_EQ(run(Kind::Write, 0, page_size), -EIO);
    serve_file();
    EXPECT_TRUE(until([&] { return run(Kind::Read, 0, page_size) == 0; }));
    disk.reset();
    server->kill();
    try_open();
    EXPECT_NE(failure.find(uri), std::string::npos) << failure;
}

TEST_F(NbdTest, AServerWhoseMediumBecameSmallerStaysAway) {
    storages = NbdStorages(io.get_executor(), {std::chrono::milliseconds(200), std::chrono::milliseconds(20)}, opener);
    serve_file();
    open();
    serve_file(1 << 19);
    EXPECT_EQ(run(Kind::Read, 0, page_size), -EIO);
}

} // namespace
} // namespace domus::block
