// A guest with a disk: reads its first sector, writes a pattern after it, reads that back, flushes, and says so.
// `rounds=N` on its command line: four tasks then write and read back a region each, N times.
// tests/system/test_guestkit.py gives it a disk of at least 2 MiB and looks at both.
#include "frontend-drivers/guestkit/app.hpp"
#include "frontend-drivers/guestkit/drivers/block.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

alignas(page_size) u8 out[256 * 1024], in[256 * 1024]; // more than one request

constexpr u32 workers = 4;
constexpr usize region = 128 * 1024;
alignas(page_size) u8 regions[workers][region];

struct Load {
    explicit Load(Scheduler& scheduler) : ended(scheduler) {}
    Event ended;
    u32 running = 0, rounds = 0, wrong = 0, failed = 0;
};

u32 rounds_asked() {
    const auto text = command_line();
    const auto at = text.find("rounds=");
    u32 number = 0;
    for (auto i = at + 7; at != text.npos && i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i)
        number = number * 10 + static_cast<u32>(text[i] - '0');
    return number;
}

Task<Result<void>> one_round(Disk& disk, u32 number, u32 round, Load& load) {
    u64* words = reinterpret_cast<u64*>(regions[number]);
    const u64 first = (1024 * 1024 + number * region) / 512;
    for (usize i = 0; i < region / sizeof(u64); ++i)
        words[i] = i * 0x9e3779b97f4a7c15 + number + round;
    CO_CHECK(co_await disk.write(first, regions[number]));
    std::memset(words, 0, region);
    CO_CHECK(co_await disk.read(first, regions[number]));
    for (usize i = 0; i < region / sizeof(u64); ++i)
        load.wrong += words[i] != i * 0x9e3779b97f4a7c15 + number + round;
    co_return Result<void>();
}

Task<void> worker(Disk& disk, u32 number, u32 rounds, Load& load) {
    ++load.running;
    for (u32 round = 0; round < rounds; ++round) {
        const auto done = co_await one_round(disk, number, round, load);
        load.failed += !done;
        if (++load.rounds % 16 == 0)
            print("disk: %u rounds\n", load.rounds);
    }
    --load.running;
    load.ended.notify();
}

Task<void> work_all_at_once(Kit& kit, Disk& disk, u32 rounds) {
    Load load(kit.platform.tasks);
    for (u32 i = 0; i < workers; ++i)
        kit.platform.tasks.start(worker(disk, i, rounds, load));
    while (load.running != 0)
        co_await load.ended.wait();
    print("load: %u rounds, %u wrong, %u failed, %u reconnects\n", load.rounds, load.wrong, load.failed,
          disk.reconnects());
}

Task<Result<void>> work(Kit& kit) {
    CO_LET(id, co_await Frontend::find(kit, "vbd"));
    Disk disk(kit, id);
    CO_CHECK(co_await disk.connect());
    print("disk: %lu sectors of %u bytes%s\n", disk.sectors(), disk.sector_size(),
          disk.read_only() ? ", read-only" : "");
    print("disk: %u queues, %u requests of %u segments%s\n", disk.queues(), disk.requests(), disk.segments(),
          disk.persistent() ? ", persistent grants" : "");
    CO_CHECK(co_await disk.read(0, std::span(in, 512)));
    print("first sector: %.*s\n", 31, reinterpret_cast<const char*>(in));
    for (usize i = 0; i < sizeof out; ++i)
        out[i] = static_cast<u8>(i * 7 + i / 512);
    CO_CHECK(co_await disk.write(8, out));
    CO_CHECK(co_await disk.flush());
    CO_CHECK(co_await disk.read(8, in));
    const bool same = std::memcmp(in, out, sizeof in) == 0;
    const bool refused = !co_await disk.read(disk.sectors(), std::span(in, 512));
    if (const u32 rounds = rounds_asked(); rounds != 0)
        co_await work_all_at_once(kit, disk, rounds);
    CO_CHECK(co_await disk.close());
    print("pattern %s, beyond the end %s, %u grants left\n", same ? "read back" : "WRONG", refused ? "refused" : "READ",
          kit.grants.lent());
    co_return Result<void>();
}

} // namespace

Task<void> app(Kit& kit) {
    const auto result = co_await work(kit);
    print("disk guest: %s %d\n", result ? "done" : "error", static_cast<int>(result.error()));
}
