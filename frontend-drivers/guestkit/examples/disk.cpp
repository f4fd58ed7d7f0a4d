// A guest with a disk: reads its first sector, writes a pattern after it, reads that back, flushes, and says so.
// tests/system/test_guestkit.py gives it a disk of at least 1 MiB and looks at both.
#include "frontend-drivers/guestkit/app.hpp"
#include "frontend-drivers/guestkit/drivers/block.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

alignas(page_size) u8 out[256 * 1024], in[256 * 1024]; // more than one request

Task<Result<void>> work(Kit& kit) {
    CO_LET(id, co_await Frontend::find(kit, "vbd"));
    Disk disk(kit, id);
    CO_CHECK(co_await disk.connect());
    print("disk: %lu sectors of %u bytes%s\n", disk.sectors(), disk.sector_size(),
          disk.read_only() ? ", read-only" : "");
    CO_CHECK(co_await disk.read(0, std::span(in, 512)));
    print("first sector: %.*s\n", 31, reinterpret_cast<const char*>(in));
    for (usize i = 0; i < sizeof out; ++i)
        out[i] = static_cast<u8>(i * 7 + i / 512);
    CO_CHECK(co_await disk.write(8, out));
    CO_CHECK(co_await disk.flush());
    CO_CHECK(co_await disk.read(8, in));
    const bool same = std::memcmp(in, out, sizeof in) == 0;
    const bool refused = !co_await disk.read(disk.sectors(), std::span(in, 512));
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
