// Memory before the frame allocator: RAM ranges minus what is taken (image, modules, loader's tables), handed out from
// the top down so that low memory stays for devices. Owner: boot, one CPU, no lock.
#include "hypervisor/arch/x86_64/layout.hpp"
#include "hypervisor/arch/x86_64/paging.hpp"
#include "hypervisor/base/checked.hpp"
#include "hypervisor/core/log.hpp"

#include <array>

namespace domus::hv::arch {

void paging_use_allocator();

namespace {

struct FreeList {
    std::array<RamRange, 128> ranges;
    u32 count = 0;

    void add(RamRange r) {
        if (r.start < r.end && count < ranges.size())
            ranges[count++] = r;
    }
    void take_out(RamRange taken) {
        const u32 before = count;
        for (u32 i = 0; i < before; ++i) {
            RamRange& r = ranges[i];
            if (taken.end <= r.start || taken.start >= r.end)
                continue;
            add({taken.end, r.end});
            r.end = taken.start > r.start ? taken.start : r.start;
        }
    }
};
constinit FreeList free_list{};

// Only what the boot page tables map can be used before the direct map stands.
constexpr u64 reachable = u64{4} << 30;

} // namespace

void boot_memory_start(std::span<const RamRange> usable, std::span<const RamRange> taken) {
    for (const auto& r : usable)
        free_list.add({round_up(r.start, page_size), round_down(r.end, page_size)});
    for (const auto& t : taken)
        free_list.take_out({round_down(t.start, page_size), round_up(t.end, page_size)});
}

u64 boot_allocate(u64 bytes, u64 alignment) {
    RamRange* best = nullptr;
    u64 best_start = 0;
    for (u32 i = 0; i < free_list.count; ++i) {
        RamRange& r = free_list.ranges[i];
        const u64 end = r.end < reachable ? r.end : reachable;
        if (end < r.start + bytes)
            continue;
        const u64 start = round_down(end - bytes, alignment);
        if (start >= r.start && start >= best_start) {
            best = &r;
            best_start = start;
        }
    }
    if (!best)
        panic("out of memory at boot: {} bytes wanted below 4 GiB; give the machine more memory", bytes);
    const RamRange above{best_start + bytes, best->end};
    best->end = best_start;
    free_list.add(above);
    __builtin_memset(reinterpret_cast<void*>(direct_map + best_start), 0, bytes);
    return best_start;
}

void boot_memory_finish(void (*give)(Mfn, Mfn)) {
    paging_use_allocator();
    for (u32 i = 0; i < free_list.count; ++i) {
        const RamRange& r = free_list.ranges[i];
        if (r.start < r.end)
            give(frame_of(Maddr(r.start)), frame_of(Maddr(r.end)));
    }
}

} // namespace domus::hv::arch
