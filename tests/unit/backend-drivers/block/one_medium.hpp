// A medium that is opened and asked to do things, whatever it stands on: what the tests of files and of NBD share.
#pragma once

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include "backend-drivers/block/storage.hpp"

namespace domus::block::test {

constexpr int pending = 1;

struct Operation : Io {
    void done(int with) override { result = with; }
    int result = pending;
};

struct OneMedium {
    boost::asio::io_context io{1};
    std::unique_ptr<Storage> disk;
    std::string failure; ///< of open()
    std::uint8_t* page = static_cast<std::uint8_t*>(std::aligned_alloc(page_size, pages* page_size));

    OneMedium() { std::memset(page, 0, pages * page_size); }
    OneMedium(const OneMedium&) = delete;
    OneMedium& operator=(const OneMedium&) = delete;
    ~OneMedium() { std::free(page); }

    bool until(const std::function<bool()>& so) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        while (!so() && std::chrono::steady_clock::now() < end) {
            io.restart();
            io.run_one_for(std::chrono::milliseconds(10));
        }
        return so();
    }
    void begin_open(Storages& storages, Spec spec) {
        failure.clear();
        boost::asio::co_spawn(io, storages.open(std::move(spec)),
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
    /// Afterwards there is a disk, or a failure.
    void try_open(Storages& storages, Spec spec) {
        begin_open(storages, std::move(spec));
        EXPECT_TRUE(until([&] { return disk != nullptr || !failure.empty(); }));
    }
    void begin(Operation& operation, Kind kind, std::uint64_t offset, std::uint64_t length) {
        operation.kind = kind;
        operation.offset = offset;
        operation.length = length;
        operation.data = page;
        disk->start(operation);
        disk->submit();
    }
    int run(Kind kind, std::uint64_t offset = 0, std::uint64_t length = 0) {
        Operation operation;
        begin(operation, kind, offset, length);
        EXPECT_TRUE(until([&] { return operation.result != pending; }));
        return operation.result;
    }
    /// Data both ways, across pages, and a discard, whose answer it returns.
    int write_read_discard() {
        std::memset(page, 0x3c, 8 * page_size);
        EXPECT_EQ(run(Kind::Write, 512, 8 * page_size), 0);
        EXPECT_EQ(run(Kind::Flush), 0);
        std::memset(page, 0, 8 * page_size);
        EXPECT_EQ(run(Kind::Read, 0, 4 * page_size), 0);
        EXPECT_EQ(page[511], 0);
        EXPECT_EQ(page[512], 0x3c);
        return run(Kind::Discard, page_size, page_size);
    }

private:
    static constexpr std::size_t pages = 16;
};

} // namespace domus::block::test
