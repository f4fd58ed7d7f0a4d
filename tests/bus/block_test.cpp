// domus-blockd's device (backend-drivers/block) and guestkit's disk against each other; memory is the medium.
#include "backend-drivers/block/disk.hpp"
#include "frontend-drivers/guestkit/drivers/block.hpp"
#include "tests/bus/bus.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace domus::bus {
namespace {

using guest::Disk;
using guest::DiskLimits;
using guest::Task;
using testing::HasSubstr;

constexpr std::size_t medium_bytes = 4 << 20;

struct Medium final : block::Storages {
    std::vector<u8> bytes = std::vector<u8>(medium_bytes);
    int error = 0;
    unsigned flushes = 0, opened = 0, largest = 0;
    bool read_only = false;
    asio::awaitable<std::unique_ptr<block::Storage>> open(block::Spec) override;
};

struct MediumStorage final : block::Storage {
    explicit MediumStorage(Medium& given) : medium_(given) {}
    block::Medium medium() const override { return {medium_bytes, medium_.read_only, true}; }
    void measure() override {}
    std::uint32_t physical_sector() const override { return 512; }
    std::uint32_t discard_granularity() const override { return 4096; }
    void start(block::Io& io) override {
        if (medium_.error == 0 && io.kind == block::Kind::Read)
            std::copy_n(&medium_.bytes.at(io.offset), io.length, io.data);
        else if (medium_.error == 0 && io.kind == block::Kind::Write)
            std::copy_n(io.data, io.length, &medium_.bytes.at(io.offset));
        medium_.flushes += io.kind == block::Kind::Flush;
        medium_.largest = std::max(medium_.largest, static_cast<unsigned>(io.length));
        io.done(-medium_.error);
    }
    void submit() override {}

private:
    Medium& medium_;
};

asio::awaitable<std::unique_ptr<block::Storage>> Medium::open(block::Spec) {
    ++opened;
    co_return std::make_unique<MediumStorage>(*this);
}

// A guest with a disk, and so many tasks that write a region of their own, each byte known, and read it back.
struct DiskOnTheBus {
    Medium medium; // outlives the bus: its backend works on it
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

    DiskOnTheBus() {
        std::filesystem::remove(journal);
        serve();
    }
    ~DiskOnTheBus() { std::filesystem::remove(journal); }

    void serve() {
        device =
            &bus.serve(id, [this](auto& made) { return std::make_unique<block::Disk>(made, medium, journal, ""); });
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
    Task<Result<void>> round(u8* memory, std::size_t pages, u64 sector, u8 seed) {
        const std::size_t bytes = pages * page_size;
        for (std::size_t i = 0; i < bytes; ++i)
            memory[i] = static_cast<u8>(i * 7 + i / 512 + seed);
        CO_CHECK(co_await disk->write(sector, std::span(memory, bytes)));
        CO_CHECK(co_await disk->flush());
        std::memset(memory, 0, bytes);
        CO_CHECK(co_await disk->read(sector, std::span(memory, bytes)));
        for (std::size_t i = 0; i < bytes; ++i)
            wrong += memory[i] != static_cast<u8>(i * 7 + i / 512 + seed);
        co_return Result<void>();
    }
    // `pages`: of each request, a power of two.
    Task<void> work(unsigned number, u32 pages, unsigned times) {
        ++working;
        u8* memory = guest->take_pages(pages).value();
        for (unsigned i = 0; i < times && !stop; ++i) {
            const auto done =
                co_await round(memory, pages, static_cast<u64>(number) * pages * 8, static_cast<u8>(number + i));
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
    }
};

struct DiskTest : testing::Test, DiskOnTheBus {};

TEST_F(DiskTest, EveryQueueCarriesLargeRequests) {
    ASSERT_TRUE(up());
    EXPECT_EQ(disk->queues(), 4u);
    EXPECT_EQ(disk->requests(), 4 * 128u); // rings of four pages
    EXPECT_EQ(disk->segments(), block::most_segments);
    for (unsigned i = 0; i < 8; ++i)
        guest->start(work(i, 64, 4));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 0u);
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(medium.flushes, 32u);
    EXPECT_EQ(medium.largest, 64 * page_size) << "indirect descriptors carry a request whole";
    EXPECT_EQ(disk->reconnects(), 0u);
    goes();
}

TEST_F(DiskTest, OneRingOfOnePageWithoutIndirectDescriptorsDoes) {
    ASSERT_TRUE(up({1, 0, 0}));
    EXPECT_EQ(disk->requests(), 32u);
    for (unsigned i = 0; i < 4; ++i)
        guest->start(work(i, 64, 2)); // each in six messages
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 0u);
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(medium.largest, 11 * page_size);
    goes();
}

TEST_F(DiskTest, MoreRequestsThanTheRingHoldsWait) {
    ASSERT_TRUE(up({1, 0, 0}));
    for (unsigned i = 0; i < 100; ++i)
        guest->start(work(i, 1, 3));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    goes();
}

TEST_F(DiskTest, AnErrorOfTheMediumIsThatRequestsAlone) {
    ASSERT_TRUE(up());
    medium.error = EIO;
    guest->start(work(0, 4, 1));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 1u);
    medium.error = 0;
    bus.faults.refuse_copies = 1;
    guest->start(work(0, 4, 1));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 2u);
    guest->start(work(0, 4, 1));
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 2u);
    EXPECT_EQ(wrong, 0u);
    goes();
}

// The backend gives up in the middle of everything: what was under way is sent to the next one.
TEST_F(DiskTest, ABackendThatFailsIsConnectedToAnew) {
    ASSERT_TRUE(up());
    for (unsigned i = 0; i < 6; ++i)
        guest->start(work(i, 16, 20));
    for (unsigned i = 1; i <= 5; ++i) {
        ASSERT_TRUE(bus.until([&] { return rounds >= i * 10; }));
        device->fail("the cable came off");
        ASSERT_TRUE(bus.until([&] { return disk->reconnects() == i; }));
    }
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    goes();
}

TEST_F(DiskTest, ABackendThatWasKilledGoesOnWithTheOldRings) {
    ASSERT_TRUE(up());
    for (unsigned i = 0; i < 6; ++i)
        guest->start(work(i, 16, 20));
    for (unsigned i = 1; i <= 5; ++i) {
        ASSERT_TRUE(bus.until([&] { return rounds >= i * 10; }));
        device->stop();
        bus.settle();
        ASSERT_FALSE(bus.serving());
        serve();
    }
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    EXPECT_EQ(disk->reconnects(), 0u);
    EXPECT_EQ(medium.opened, 6u);
    goes();
}

TEST_F(DiskTest, MapsThatFailAreTriedAgain) {
    ASSERT_TRUE(up());
    guest->start(work(0, 16, 50));
    ASSERT_TRUE(bus.until([&] { return rounds == 3; }));
    bus.faults.refuse_maps = 3; // in three connections, one after the other
    device->fail("again");
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed + wrong, 0u);
    EXPECT_EQ(disk->reconnects(), 1u);
    goes();
}

TEST_F(DiskTest, ABackendThatNeverTakesUsEndsRequests) {
    ASSERT_TRUE(up());
    guest->start(work(0, 16, 50));
    ASSERT_TRUE(bus.until([&] { return rounds == 3; }));
    bus.faults.refuse_maps = 1000000;
    device->fail("for good");
    ASSERT_TRUE(ends());
    EXPECT_EQ(failed, 50u - 3u);
    guest->start(close());
    ASSERT_TRUE(bus.until([&] { return stage == "closed"; }));
    EXPECT_EQ(closed, Err::NoDev);
    EXPECT_EQ(guest->kit().grants.lent(), 0u);
}

TEST_F(DiskTest, AnUnplugEndsRequests) {
    ASSERT_TRUE(up());
    guest->start(work(0, 16, 1000));
    ASSERT_TRUE(bus.until([&] { return rounds == 3; }));
    bus.write(id.path() + "/online", "0");
    bus.write(id.path() + "/state", "5");
    ASSERT_TRUE(ends());
    EXPECT_GT(failed, 0u);
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(guest->kit().grants.lent(), 0u);
}

// A backend that answers what nobody asked, or claims to have answered more than there was.
TEST_F(DiskTest, ABackendThatLiesIsNotBelieved) {
    ASSERT_TRUE(up({1, 0, 0}));
    const auto reference = static_cast<u32>(std::stoul(*bus.read("/local/domain/1/device/vbd/51712/ring-ref")));
    auto* ring = static_cast<u32*>(bus.grants().map(1, std::span(&reference, 1), true));
    guest->start(work(0, 1, 5));
    EXPECT_TRUE(bus.until([&] { return ring[2] != 0; }));
    ring[2] += 1000; // rsp_prod: answered by the backend, not yet seen by the guest
    EXPECT_TRUE(ends());
    bus.grants().unmap(ring, 1);
    EXPECT_EQ(failed, 5u);
    EXPECT_THAT(guest->said, HasSubstr("broke the protocol"));
}

// With DOMUS_LONG=1 (`make test-long`) a thousand times.
TEST(DiskAlone, ManyReconnects) {
    const unsigned many = std::getenv("DOMUS_LONG") ? 1000 : 100;
    const auto all = [](unsigned times) {
        DiskOnTheBus world;
        EXPECT_TRUE(world.up({1, 0, 32}));
        for (unsigned i = 0; i < 3; ++i)
            world.guest->start(world.work(i, 1, 1000000));
        for (unsigned i = 1; i <= times; ++i) {
            const auto before = world.rounds;
            EXPECT_TRUE(world.bus.until([&] { return world.rounds > before; }));
            for (unsigned steps = i % 17; steps > 0; --steps)
                world.bus.step();
            world.bus.faults.refuse_maps = i % 10 == 0 ? 2 : 0;
            if (i % 4 == 3) { // killed, and the next one does not get far either
                world.device->stop();
                world.bus.settle();
                world.serve();
            }
            world.device->fail("once more");
            EXPECT_TRUE(world.bus.until([&] { return world.disk->reconnects() == i; })) << i;
            if (testing::Test::HasFailure())
                break;
        }
        world.stop = true;
        EXPECT_TRUE(world.ends());
        EXPECT_EQ(world.failed + world.wrong, 0u);
        world.goes();
        return world.bus.trace();
    };
    all(many);
    const auto first = all(5);
    EXPECT_EQ(all(5), first) << "each run is the same";
}

TEST(DiskAlone, TheGuestDiesAtEveryStep) {
    for (unsigned deadline = 0;; deadline += 7) {
        DiskOnTheBus world;
        world.guest->start(world.connect({2, 1, 32}));
        unsigned step = 0;
        for (; step < deadline && world.stage == "none"; ++step)
            world.bus.step();
        if (world.stage == "connected")
            for (unsigned i = 0; i < 3; ++i)
                world.guest->start(world.work(i, 16, 2));
        for (; step < deadline && (world.stage == "none" || world.working != 0); ++step)
            world.bus.step();
        const bool done = step < deadline;
        world.bus.kill(*world.guest);
        world.bus.settle();
        world.bus.unplug(world.id, "vbd");
        world.bus.settle();
        EXPECT_FALSE(world.bus.serving()) << "after " << deadline << " steps at " << world.stage;
        EXPECT_EQ(world.bus.grants().mapped(), 0u) << "after " << deadline << " steps at " << world.stage;
        if (done)
            break;
    } // ~Bus: no memory was lost
}

// Over the hypervisor's own grants: what stays mapped cannot be taken back, what a guest revokes by force stays its
// own, a batch that fails leaves nothing, and a guest that dies gets its pages back when they are let go (~Bus counts
// them).
TEST(PersistentGrants, WhatIsMappedIsTheGuestsAndComesBack) {
    Bus bus;
    Guest& guest = bus.boot();
    const auto room = std::make_shared<std::size_t>(100);
    auto& table = guest.kit().grants;
    u8* page = guest.take_pages().value();
    const u32 writable = table.lend(0, page).value();
    u8* other = guest.take_pages().value();
    const u32 read_only = table.lend(0, other, guest::Lend::ReadOnly).value();
    {
        block::PersistentGrants kept(bus.access().grants, guest.domid, 8, room, backend::Stats::Value());
        std::vector<std::uint32_t> missing{writable, read_only};
        kept.keep(missing);
        EXPECT_EQ(bus.grants().mapped(), 0u) << "the second one fails: all or none";
        missing = {writable};
        kept.keep(missing);
        ASSERT_TRUE(kept.hold(writable));
        EXPECT_EQ(bus.grants().mapped(), 1u);
        EXPECT_EQ(table.take_back(writable).error(), Err::Busy);
        auto& entry = guest.grant_table()[writable]; // as a guest that does not ask
        entry.frame = static_cast<u32>(guest.frame_of(other).n);
        std::memset(kept.hold(writable).page(), 0x5a, page_size);
        EXPECT_EQ(page[7], 0x5a) << "what it meant when it was mapped";
        EXPECT_EQ(other[7], 0);
        entry.frame = static_cast<u32>(guest.frame_of(page).n);
        kept.clear();
        EXPECT_TRUE(table.take_back(writable));
        missing = {table.lend(0, page).value()};
        kept.keep(missing);
        EXPECT_EQ(bus.grants().mapped(), 1u);
        bus.kill(guest);
        bus.settle();
        EXPECT_TRUE(kept.hold(missing[0])) << "a dead guest's page stays until it is let go";
    }
    EXPECT_EQ(bus.grants().mapped(), 0u);
    EXPECT_EQ(*room, 100u);
}

} // namespace
} // namespace domus::bus
