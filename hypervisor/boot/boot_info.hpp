// What the boot loader handed over, in one form for multiboot 1 and 2. Owner: boot. Everything is copied out of the
// loader's memory except the modules themselves.
#pragma once

#include "hypervisor/base/types.hpp"

#include <array>
#include <span>
#include <string_view>

namespace domus::hv {

struct BootRange {
    u64 start, end; // bytes
    u32 type;       // E820: 1 RAM, 2 reserved, 3 ACPI data, 4 ACPI NVS, 5 bad
};

// Text of the loader's, cut off where it does not fit.
struct BootText {
    char bytes[1024] = {};
    bool cut = false;
    std::string_view view() const { return bytes; }
};

struct BootModule {
    u64 start = 0, end = 0;
    BootText text; // its command line; the first word is usually a file name
};

struct BootInfo {
    std::array<BootRange, 128> ranges{}; // in order of their start
    u32 range_count = 0;
    std::array<BootModule, 4> modules{};
    u32 module_count = 0;
    u32 modules_left_out = 0; // there was no room for them
    BootText command_line;
    u64 rsdp = 0; // machine address, 0: the loader named none

    std::span<const BootRange> memory() const { return {ranges.data(), range_count}; }
    std::string_view options() const { return command_line.view(); }
};

inline constexpr u32 boot_ram = 1; // BootRange::type

// Fill a fresh BootInfo from the loader's magic and the machine address of its information. `memory` is machine memory
// from address 0 on, as far as it can be read; nothing beyond it is touched, whatever the loader's lengths say, and
// what lies there is left out. False: neither protocol.
bool read_boot_info(u32 magic, u64 address, std::span<const u8> memory, BootInfo&);

// Does [start, end) lie in one range of RAM?
bool is_boot_ram(const BootInfo&, u64 start, u64 end);

} // namespace domus::hv
