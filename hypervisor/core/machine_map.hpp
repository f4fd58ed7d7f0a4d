// The machine's memory map (BIOS e820 terms), and the maps that builders give to domains. Written at start-up.
#pragma once

#include "hypervisor/base/types.hpp"

#include <span>

namespace domus::hv {

// As guests read it: XENMEM_memory_map, XENMEM_machine_memory_map (the format of BIOS INT 0x15, EAX 0xE820).
struct [[gnu::packed]] MapEntry {
    u64 start;  // bytes
    u64 length; // bytes
    u32 type;   // 1 RAM, 2 reserved, 3 ACPI tables, 4 ACPI NVS, 5 unusable
};
static_assert(sizeof(MapEntry) == 20);

inline constexpr usize max_map_entries = 128;

void set_machine_map(std::span<const MapEntry>); // start-up; more than max_map_entries: the rest is dropped, logged
std::span<const MapEntry> machine_map();

} // namespace domus::hv
