// A disk in one process: the daemon's Disk in its Device, a real store, memory in the medium's place, and a frontend's
// rings in a guest's memory. Test code.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include <gmock/gmock.h>

#include "backend-drivers/block/disk.hpp"
#include "tests/unit/backend-drivers/block/bytes.hpp"
#include "tests/unit/backend-drivers/common/device_world.hpp"

namespace domus::block::test {

using backend::State;

/// A medium that works when it is told to, in the order it is told.
struct Memory {
    std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(1 << 20);
    Medium medium{1 << 20, false, true};
    std::vector<Io*> held;
    bool hold = false, in_place = false, takes_parts = false;
    int error = 0, error_once = 0; ///< of every operation, of the next one
    unsigned flushes = 0, discards = 0, opened = 0;
    Spec spec;

    void work(Io& io) {
        const int failed = error_once != 0 ? std::exchange(error_once, 0) : error;
        if (failed == 0) {
            transfer(io, bytes);
        }
        flushes += io.kind == Kind::Flush;
        discards += io.kind == Kind::Discard;
        io.done(-failed);
    }
    void release(std::size_t which) {
        Io* io = held.at(which);
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
        work(*io);
    }
};

struct MemoryStorage final : Storage {
    explicit MemoryStorage(Memory& memory) : memory(memory) {}
    Medium medium() const override { return memory.medium; }
    void measure() override {
        if (memory.error != 0) {
            throw std::runtime_error("cannot be measured");
        }
        memory.medium.bytes = memory.bytes.size();
    }
    std::uint32_t physical_sector() const override { return 4096; }
    std::uint32_t discard_granularity() const override { return 4096; }
    void start(Io& io) override {
        if (memory.hold) {
            memory.held.push_back(&io);
        } else {
            memory.work(io);
        }
    }
    void submit() override {}
    bool takes_parts() const override { return memory.takes_parts; }
    std::uint8_t* bytes(std::uint64_t offset, std::uint64_t length) override {
        return memory.in_place && offset + length <= memory.bytes.size() ? &memory.bytes[offset] : nullptr;
    }
    Memory& memory;
};

struct MemoryStorages final : Storages {
    Memory memory;
    boost::asio::awaitable<std::unique_ptr<Storage>> open(Spec spec) override {
        memory.spec = spec;
        ++memory.opened;
        co_return std::make_unique<MemoryStorage>(memory);
    }
};

/// A ring's page as a frontend sees it.
struct Shared {
    std::uint32_t req_prod, req_event, rsp_prod, rsp_event;
    std::uint8_t unused[48];
    union Slot {
        blkif_request_t request;
        blkif_response_t response;
    } slots[32];
};
static_assert(sizeof(Shared) <= page_size);

struct DiskTest : backend::test::DeviceWorld {
    static constexpr std::uint32_t ring_page = 1, data = 16, list_page = 900; // grant references
    MemoryStorages storages;
    PersistentGrants::Room room;
    std::string journal = testing::TempDir() + "domus-journal-" + std::to_string(::getpid());

    DiskTest() {
        id = {"/local/domain/0", device_type, 3, 51712};
        front = "/local/domain/3/device/vbd/51712";
        grant_pages();
    }
    ~DiskTest() override {
        kill();
        std::filesystem::remove(journal);
    }

    Memory& medium() { return storages.memory; }
    std::unique_ptr<backend::Driver> make(backend::Device& made) override {
        return std::make_unique<Disk>(made, storages, journal, "", room);
    }
    /// What the medium has begun, it ends.
    void let_end() override {
        while (!medium().held.empty()) {
            medium().release(0);
        }
    }
    void write_frontend() {
        store.write(front + "/ring-ref", std::to_string(ring_page));
        store.write(front + "/event-channel", "5");
        store.write(front + "/protocol", "x86_64-abi");
    }
    void offer(const std::string& mode = "w") {
        write_device();
        store.write(id.path() + "/params", "/image");
        store.write(id.path() + "/mode", mode);
        start();
        ASSERT_TRUE(becomes(State::InitWait)) << error();
        write_frontend();
    }
    void connect(const std::string& mode = "w") {
        offer(mode);
        take();
    }

    Shared& ring(std::uint32_t page = ring_page) { return *reinterpret_cast<Shared*>(grants->page(page)); }
    static blkif_request_t request(std::uint8_t operation, std::uint64_t sector, std::uint32_t reference,
                                   std::uint64_t id) {
        blkif_request_t slot{};
        slot.operation = operation;
        slot.nr_segments = operation == BLKIF_OP_FLUSH_DISKCACHE ? 0 : 1;
        slot.id = id;
        slot.sector_number = sector;
        slot.seg[0] = {reference, 0, 7};
        return slot;
    }
    static blkif_request_t indirect(std::uint8_t operation, std::uint16_t segments, std::uint64_t sector,
                                    std::uint64_t id) {
        blkif_request_indirect_t slot{};
        slot.operation = BLKIF_OP_INDIRECT;
        slot.indirect_op = operation;
        slot.nr_segments = segments;
        slot.id = id;
        slot.sector_number = sector;
        slot.indirect_grefs[0] = list_page;
        blkif_request_t as{};
        std::memcpy(&as, &slot, sizeof slot);
        return as;
    }
    void push(const blkif_request_t& slot, std::uint32_t page = ring_page) {
        ring(page).slots[ring(page).req_prod++ % 32].request = slot;
    }
    void notify() {
        events->fire(events->last_port);
        settle();
    }
    const blkif_response_t& response(unsigned index) { return ring().slots[index % 32].response; }
    void fill(std::uint32_t reference, std::uint8_t with) { std::memset(grants->page(reference), with, page_size); }
    std::int16_t ask(const blkif_request_t& slot) {
        const auto index = ring().req_prod;
        push(slot);
        notify();
        EXPECT_EQ(ring().rsp_prod, index + 1);
        if (slot.operation != BLKIF_OP_INDIRECT) {
            EXPECT_EQ(response(index).operation, slot.operation);
        }
        return response(index).status;
    }
};

} // namespace domus::block::test
