// A guest with a disk on the bus: domus-blockd's device (backend-drivers/block) and guestkit's disk, memory is the
// medium. Test code.
#pragma once

#include "backend-drivers/block/disk.hpp"
#include "frontend-drivers/guestkit/drivers/block.hpp"
#include "tests/bus/bus.hpp"
#include "tests/unit/backend-drivers/block/bytes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace domus::bus {

using guest::Disk;
using guest::DiskLimits;
using guest::Task;

constexpr std::size_t medium_bytes = 4 << 20;

struct Medium final : block::Storages {
    std::vector<u8> bytes = std::vector<u8>(medium_bytes);
    int error = 0;
    unsigned flushes = 0, opened = 0, largest = 0, in_place = 0; // in_place: on pages that the guest lent
    bool read_only = false, takes_parts = true;
    asio::awaitable<std::unique_ptr<block::Storage>> open(block::Spec) override;
};

struct MediumStorage final : block::Storage {
    explicit MediumStorage(Medium& given) : medium_(given) {}
    block::Medium medium() const override { return {medium_bytes, medium_.read_only, true}; }
    void measure() override {}
    std::uint32_t physical_sector() const override { return 512; }
    std::uint32_t discard_granularity() const override { return 4096; }
    void start(block::Io& io) override {
        if (medium_.error == 0)
            block::test::transfer(io, medium_.bytes);
        medium_.flushes += io.kind == block::Kind::Flush;
        medium_.largest = std::max(medium_.largest, static_cast<unsigned>(io.length));
        medium_.in_place += !io.parts.empty();
        io.done(-medium_.error);
    }
    void submit() override {}
    bool takes_parts() const override { return medium_.takes_parts; }

private:
    Medium& medium_;
};

inline asio::awaitable<std::unique_ptr<block::Storage>> Medium::open(block::Spec) {
    ++opened;
    co_return std::make_unique<MediumStorage>(*this);
}

enum class Grants { Copied, Persistent };
constexpr std::size_t room_in_all = 1000; // pages that may stay mapped

// A guest with a disk, and so many tasks that write a region of their own, each byte known, and read it back.
struct DiskOnTheBus {
    explicit DiskOnTheBus(Grants asked) : grants(asked) {
        std::filesystem::remove(journal);
        if (persistent())
            bus.write(id.path() + "/persistent-enable", "1");
        serve();
    }
    ~DiskOnTheBus() { std::filesystem::remove(journal); }
    bool persistent() const { return grants == Grants::Persistent; }

    const Grants grants;
    Medium medium; // outlives the bus: its backend works on it
    block::PersistentGrants::Room room = std::make_shared<std::size_t>(room_in_all);
    std::string journal = testing::TempDir() + "domus-bus-journal-" + std::to_string(::getpid());
    Bus bus;
    Guest* guest = &bus.boot();
    backend::DeviceId id = bus.plug(*guest, "vbd", block::device_type, 51712, {{"params", "/medium"}, {"mode", "w"}});
    backend::Device* device = nullptr;
    std::optional<Disk> disk;
    std::string stage = "none";
    Err error{}, closed{};
    unsigned working = 0, rounds = 0, wrong = 0, failed = 0;
    bool stop = false;

    void serve() {
        device = &bus.serve(
            id, [this](auto& made) { return std::make_unique<block::Disk>(made, medium, journal, "", room); });
    }
    Task<void> connect(DiskLimits limits) {
        disk.emplace(guest->kit(), 51712, limits);
        const auto connected = co_await disk->connect();
        error = connected.error();
        stage = connected ? "connected" : "refused";
    }
    bool up(DiskLimits limits = {}) {
        guest->start(connect(limits));
        bus.settle(); // the backend has seen that the guest is Connected, too
        return stage == "connected";
    }
    Task<Result<void>> round(std::span<u8> memory, u64 sector, u8 seed) {
        for (std::size_t i = 0; i < memory.size(); ++i)
            memory[i] = static_cast<u8>(i * 7 + i / 512 + seed);
        CO_CHECK(co_await disk->write(sector, memory));
        CO_CHECK(co_await disk->flush());
        std::memset(memory.data(), 0, memory.size());
        CO_CHECK(co_await disk->read(sector, memory));
        for (std::size_t i = 0; i < memory.size(); ++i)
            wrong += memory[i] != static_cast<u8>(i * 7 + i / 512 + seed);
        co_return Result<void>();
    }
    // `pages`: of each request, a power of two; what is over stands before and behind.
    Task<void> work(unsigned number, u32 pages, unsigned times, usize sectors_over = 0) {
        ++working;
        u8* memory = guest->take_pages(pages).value();
        const usize over = sectors_over * 512;
        for (unsigned i = 0; i < times && !stop; ++i) {
            const auto done = co_await round(std::span(memory + over, pages * page_size - 2 * over),
                                             static_cast<u64>(number) * pages * 8, static_cast<u8>(number + i));
            failed += !done;
            ++rounds;
        }
        for (u32 i = 0; i < pages; ++i)
            guest->give_page(memory + i * page_size);
        --working;
    }
    Task<void> close() {
        const auto result = co_await disk->close();
        closed = result.error();
        stage = "closed";
    }
    bool ends() {
        return bus.until([&] { return working == 0; });
    }
    void goes() {
        guest->start(close());
        ASSERT_TRUE(bus.until([&] { return stage == "closed"; }));
        EXPECT_EQ(closed, Err{});
        EXPECT_EQ(guest->kit().grants.lent(), 0u);
        EXPECT_EQ(bus.grants().mapped(), 0u);
        EXPECT_EQ(*room, room_in_all);
    }
};

} // namespace domus::bus
