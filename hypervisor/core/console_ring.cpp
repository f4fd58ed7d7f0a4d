// The console ring and the serial line behind it. Owner: this file. Lock: Rank::Console.
#include "hypervisor/core/console_ring.hpp"

#include "hypervisor/abi/xen.hpp"
#include "hypervisor/arch/iface/console.hpp"
#include "hypervisor/base/guarded.hpp"
#include "hypervisor/core/events.hpp"

#include <algorithm>
#include <array>

namespace domus::hv {
namespace {

struct Ring {
    std::array<char, console_ring_bytes> bytes{};
    u32 produced = 0; // bytes ever written, modulo 2^32
    u32 consumed = 0; // position of the oldest byte still wanted

    void put(std::string_view text) {
        for (char c : text)
            bytes[produced++ % console_ring_bytes] = c;
        if (produced - consumed > console_ring_bytes)
            consumed = produced - console_ring_bytes;
    }
};

constinit Guarded<Ring, Rank::Console> ring;
constinit std::atomic<bool> has_news{false};

} // namespace

void console_print_line(std::string_view prefix, std::string_view text, Shown shown) {
    ring.with([&](Ring& r) {
        for (std::string_view part : {prefix, text, std::string_view("\n")}) {
            r.put(part);
            if (shown == Shown::Everywhere)
                arch::console_write(part);
        }
    });
    has_news.store(true, std::memory_order_relaxed);
}

void console_print_raw(std::string_view bytes) {
    ring.with([&](Ring&) { arch::console_write(bytes); });
}

void console_print_in_panic(std::string_view bytes) {
    // Unlocked on purpose: the holder may be the CPU that panics. A torn line is better than none.
    ring.unguarded().put(bytes);
    arch::console_write(bytes);
}

u32 console_ring_read(u32& index, std::span<char> to) {
    return ring.with([&](Ring& r) {
        // A position from before the oldest byte, or from the future, means "from the oldest".
        if (r.produced - index > r.produced - r.consumed)
            index = r.consumed;
        const u32 count = static_cast<u32>(std::min<usize>(r.produced - index, to.size()));
        for (u32 i = 0; i < count; ++i)
            to[i] = r.bytes[(index + i) % console_ring_bytes];
        index += count;
        return count;
    });
}

u32 console_ring_start() {
    return ring.with([](Ring& r) { return r.consumed; });
}

void console_ring_clear() {
    ring.with([](Ring& r) { r.consumed = r.produced; });
}

void console_announce() {
    if (has_news.load(std::memory_order_relaxed) && has_news.exchange(false, std::memory_order_relaxed))
        raise_global_virq_of_machine(VIRQ_CON_RING);
}

} // namespace domus::hv
