// Multiboot 1 and 2 boot information (the Multiboot Specification 0.6.96, section 3.3; version 2, section 3.6).
// Owner: no state. The loader is trusted to mean well, not to be right: every address and length is bounded.
#include "hypervisor/boot/boot_info.hpp"

#include "hypervisor/base/checked.hpp"

#include <utility>

namespace domus::hv {
namespace {

constexpr u32 magic_1 = 0x2badb002, magic_2 = 0x36d76289;
constexpr u64 end_of_memory = u64{1} << 52; // no machine address is longer

class Loader {
public:
    Loader(std::span<const u8> memory, BootInfo& info) : memory_(memory), info_(info) {}

    void read_version_1(u64 at);
    void read_version_2(u64 at);
    void order_ranges();

private:
    bool readable(u64 at, u64 bytes) const { return fits(at, bytes, memory_.size()); }
    // 0 where there is nothing to read.
    template <class T>
    T load(u64 at) const {
        T value = 0;
        if (readable(at, sizeof value))
            __builtin_memcpy(&value, memory_.data() + at, sizeof value);
        return value;
    }
    // Text that ends by itself, or after `most` bytes.
    void copy_text(BootText& to, u64 at, u64 most) const;
    void add_range(u64 start, u64 length, u32 type);
    void add_module(u64 start, u64 end, u64 text, u64 most);
    void read_memory_map_1(u64 at, u64 bytes);
    void read_memory_map_2(u64 tag, u64 size);
    void read_tag(u32 type, u64 tag, u64 size);

    std::span<const u8> memory_;
    BootInfo& info_;
};

void Loader::copy_text(BootText& to, u64 at, u64 most) const {
    usize i = 0;
    for (; i < most && load<u8>(at + i) != 0; ++i) {
        if (i + 1 == sizeof to.bytes) {
            to.cut = true;
            break;
        }
        to.bytes[i] = static_cast<char>(load<u8>(at + i));
    }
    to.bytes[i] = 0;
}

void Loader::add_range(u64 start, u64 length, u32 type) {
    if (info_.range_count == info_.ranges.size() || start >= end_of_memory || length == 0)
        return;
    const u64 end = fits(start, length, end_of_memory) ? start + length : end_of_memory;
    info_.ranges[info_.range_count++] = {start, end, type};
}

void Loader::add_module(u64 start, u64 end, u64 text, u64 most) {
    if (info_.module_count == info_.modules.size()) {
        ++info_.modules_left_out;
        return;
    }
    BootModule& module = info_.modules[info_.module_count++];
    module.start = start;
    module.end = end < start ? start : end;
    copy_text(module.text, text, most);
}

void Loader::read_memory_map_1(u64 at, u64 bytes) {
    constexpr u64 head = 4, body = 20; // the size field does not count itself
    for (const u64 end = at + bytes; at + head + body <= end;) {
        const u64 size = load<u32>(at);
        if (size < body)
            return;
        add_range(load<u64>(at + head), load<u64>(at + head + 8), load<u32>(at + head + 16));
        at += head + size;
    }
}

void Loader::read_version_1(u64 at) {
    constexpr u32 has_command_line = 1 << 2, has_modules = 1 << 3, has_memory_map = 1 << 6;
    const u32 flags = load<u32>(at);
    if (flags & has_command_line)
        copy_text(info_.command_line, load<u32>(at + 16), ~u64{0});
    if (flags & has_modules) {
        const u32 count = load<u32>(at + 20);
        u64 module = load<u32>(at + 24);
        for (u32 i = 0; i < count && readable(module, 16); ++i, module += 16)
            add_module(load<u32>(module), load<u32>(module + 4), load<u32>(module + 8), ~u64{0});
    }
    if (flags & has_memory_map)
        read_memory_map_1(load<u32>(at + 48), load<u32>(at + 44));
}

void Loader::read_memory_map_2(u64 tag, u64 size) {
    constexpr u64 head = 16, smallest = 24;
    const u64 entry = load<u32>(tag + 8);
    if (entry < smallest)
        return;
    for (u64 at = head; at + smallest <= size; at += entry)
        add_range(load<u64>(tag + at), load<u64>(tag + at + 8), load<u32>(tag + at + 16));
}

void Loader::read_tag(u32 type, u64 tag, u64 size) {
    switch (type) {
    case 1:
        return copy_text(info_.command_line, tag + 8, size - 8);
    case 3:
        if (size >= 16)
            add_module(load<u32>(tag + 8), load<u32>(tag + 12), tag + 16, size - 16);
        return;
    case 6:
        return read_memory_map_2(tag, size);
    case 14:
    case 15: // a copy of the RSDP; its own address is what counts
        info_.rsdp = tag + 8;
        return;
    default:
        return;
    }
}

void Loader::read_version_2(u64 at) {
    constexpr u64 head = 8;
    const u64 total = load<u32>(at);
    for (u64 offset = head; offset + head <= total;) {
        const u32 type = load<u32>(at + offset);
        const u64 size = load<u32>(at + offset + 4);
        if (type == 0 || size < head || offset + size > total || !readable(at + offset, size))
            return;
        read_tag(type, at + offset, size);
        offset += round_up(size, 8);
    }
}

// Firmware may list ranges in any order, and RAM twice or together with what is none: then it is none, and what lies
// behind such a place in the same range is given up.
void Loader::order_ranges() {
    const std::span<BootRange> all(info_.ranges.data(), info_.range_count);
    for (usize i = 1; i < all.size(); ++i) {
        for (usize k = i; k > 0 && all[k].start < all[k - 1].start; --k)
            std::swap(all[k], all[k - 1]);
    }
    for (usize i = 0; i < all.size(); ++i) {
        if (all[i].type != boot_ram)
            continue;
        for (usize k = 0; k < all.size(); ++k) {
            const bool overlap = all[k].start < all[i].end && all[i].start < all[k].end;
            if (!overlap || k == i || (all[k].type == boot_ram && k > i))
                continue;
            if (all[k].start <= all[i].start)
                all[i].start = all[k].end < all[i].end ? all[k].end : all[i].end;
            else
                all[i].end = all[k].start;
        }
    }
}

} // namespace

bool read_boot_info(u32 magic, u64 address, std::span<const u8> memory, BootInfo& info) {
    Loader loader(memory, info);
    if (magic == magic_1)
        loader.read_version_1(address);
    else if (magic == magic_2)
        loader.read_version_2(address);
    else
        return false;
    loader.order_ranges();
    return true;
}

bool is_boot_ram(const BootInfo& info, u64 start, u64 end) {
    for (const BootRange& range : info.memory()) {
        if (range.type == boot_ram && range.start <= start && end <= range.end)
            return true;
    }
    return false;
}

} // namespace domus::hv
