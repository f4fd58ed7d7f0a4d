// memory_op: what a domain may know about memory: maps, limits and the machine-to-phys table. Source: <xen/memory.h>.
// Owner of a domain's map: Domain::memory_map, written by its builder before it runs. Lock: none.
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/machine_map.hpp"
#include "hypervisor/core/memory_op.hpp"

namespace domus::hv {

struct GuestMemoryMap {
    u32 count = 0;
    std::array<MapEntry, max_map_entries> entries{};
};

namespace {

constinit GuestMemoryMap of_machine{};

Result<i64> give_map(const MemoryCall& memory, const GuestMemoryMap& map) {
    auto request = TRY(copy_in(memory.argument.as<xen_memory_map_t>()));
    request.nr_entries = request.nr_entries < map.count ? request.nr_entries : map.count;
    TRY(copy_out_bytes(guest_ptr(request.buffer).address, map.entries.data(), request.nr_entries * sizeof(MapEntry)));
    TRY(copy_out(memory.argument.as<xen_memory_map_t>(), request));
    return i64{0};
}

Result<DomainRef> domain_argument(const MemoryCall& memory) {
    return find_target(memory.caller(), TRY(copy_in(memory.argument.as<xen_memory_domain>())).domid);
}

} // namespace

void set_machine_map(std::span<const MapEntry> entries) {
    of_machine.count = 0;
    for (const MapEntry& entry : entries) {
        if (of_machine.count == max_map_entries)
            return log(Level::Warning, "the machine's memory map has more than {} entries: cut off", max_map_entries);
        of_machine.entries[of_machine.count++] = entry;
    }
}

std::span<const MapEntry> machine_map() {
    return {of_machine.entries.data(), of_machine.count};
}

Result<i64> memory_map(MemoryCall& memory) {
    if (!memory.caller().memory_map)
        return Err::NoSys; // Linux then takes one region of its own size
    return give_map(memory, *memory.caller().memory_map);
}

Result<i64> machine_memory_map(MemoryCall& memory) {
    return give_map(memory, of_machine);
}

Result<i64> set_memory_map(MemoryCall& memory) {
    const auto request = TRY(copy_in(memory.argument.as<xen_foreign_memory_map_t>()));
    const DomainRef target = TRY(find_target(memory.caller(), request.domid));
    if (request.map.nr_entries > max_map_entries || target->life.load() == Life::Dying)
        return Err::Inval;
    if (!target->memory_map)
        target->memory_map = make<GuestMemoryMap>();
    if (!target->memory_map)
        return Err::NoMem;
    target->memory_map->count = 0;
    TRY(copy_in_bytes(target->memory_map->entries.data(), guest_ptr(request.map.buffer).address,
                      request.map.nr_entries * sizeof(MapEntry)));
    target->memory_map->count = request.map.nr_entries;
    return i64{0};
}

void free_memory_map(Domain& domain) {
    destroy(domain.memory_map);
    domain.memory_map = nullptr;
}

Result<i64> maximum_ram_page(MemoryCall&) {
    return static_cast<i64>(arch::frame_limit() - 1);
}

Result<i64> current_reservation(MemoryCall& memory) {
    const DomainRef target = TRY(domain_argument(memory));
    return static_cast<i64>(target->frames.with([](OwnedFrames& list) { return list.total; }));
}

Result<i64> maximum_reservation(MemoryCall& memory) {
    const DomainRef target = TRY(domain_argument(memory));
    return static_cast<i64>(target->frames.with([](OwnedFrames& list) { return list.maximum; }));
}

// The largest pseudo-physical frame number, as the guest itself published it.
Result<i64> maximum_gpfn(MemoryCall& memory) {
    const DomainRef target = TRY(domain_argument(memory));
    if (!target->shared)
        return Err::Inval;
    return static_cast<i64>(__atomic_load_n(&target->shared->arch.max_pfn, __ATOMIC_RELAXED)) - 1;
}

Result<i64> machphys_mapping(MemoryCall& memory) {
    xen_machphys_mapping_t mapping{};
    mapping.v_start = MACH2PHYS_VIRT_START;
    mapping.v_end = MACH2PHYS_VIRT_END;
    mapping.max_mfn = arch::frame_limit() - 1;
    TRY(copy_out(memory.argument.as<xen_machphys_mapping_t>(), mapping));
    return i64{0};
}

} // namespace domus::hv
