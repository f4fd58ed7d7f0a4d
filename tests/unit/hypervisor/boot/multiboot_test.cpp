// Multiboot information: what loaders hand over, and information that is cut off, loops, or points nowhere.
#include "hypervisor/boot/boot_info.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

namespace domus::test {
namespace {

using namespace domus::hv;

constexpr u32 magic_1 = 0x2badb002, magic_2 = 0x36d76289;

// A loader's memory, with everything placed by the test.
class Boot : public testing::Test {
protected:
    template <class T>
    void put(u64 at, T value) {
        std::memcpy(memory.data() + at, &value, sizeof value);
    }
    void text(u64 at, const std::string& value) { std::memcpy(memory.data() + at, value.c_str(), value.size() + 1); }
    const BootInfo& read(u32 magic, u64 at = base) {
        info = std::make_unique<BootInfo>();
        known = read_boot_info(magic, at, memory, *info);
        return *info;
    }
    // Version 2: tags one after the other.
    void begin() { end = base + 8; }
    u64 tag(u32 type, u32 size) {
        const u64 at = end;
        put(at, type), put(at + 4, size);
        end += (size + 7) / 8 * 8;
        return at;
    }
    const BootInfo& finish() {
        tag(0, 8);
        put(base, static_cast<u32>(end - base));
        return read(magic_2);
    }
    static constexpr u64 base = 0x1000;
    std::vector<u8> memory = std::vector<u8>(0x20000);
    std::unique_ptr<BootInfo> info;
    bool known = false;
    u64 end = 0;
};

class Multiboot1 : public Boot {
protected:
    Multiboot1() {
        put(base, u32{1 << 2 | 1 << 3 | 1 << 6});
        put(base + 16, u32{0x2000});
        text(0x2000, "domus.elf loglvl=all");
        put(base + 20, u32{1});
        put(base + 24, u32{0x3000});
        put(0x3000, u32{0x100000}), put(0x3004, u32{0x200000}), put(0x3008, u32{0x2100});
        text(0x2100, "vmlinuz root=/dev/ram0");
        put(base + 44, u32{48});
        put(base + 48, u32{0x4000});
        map_entry(0x4000, 0, 0x9fc00, 1);
        map_entry(0x4018, 0x100000, 0x7ff00000, 1);
    }
    void map_entry(u64 at, u64 start, u64 length, u32 type, u32 size = 20) {
        put(at, size), put(at + 4, start), put(at + 12, length), put(at + 20, type);
    }
};

TEST_F(Multiboot1, IsRead) {
    const BootInfo& b = read(magic_1);
    EXPECT_TRUE(known);
    EXPECT_EQ(b.options(), "domus.elf loglvl=all");
    ASSERT_EQ(b.module_count, 1u);
    EXPECT_EQ(b.modules[0].start, 0x100000u);
    EXPECT_EQ(b.modules[0].end, 0x200000u);
    EXPECT_EQ(b.modules[0].text.view(), "vmlinuz root=/dev/ram0");
    ASSERT_EQ(b.range_count, 2u);
    EXPECT_EQ(b.ranges[1].end, 0x80000000u);
    EXPECT_TRUE(is_boot_ram(b, 0x100000, 0x200000));
    EXPECT_FALSE(is_boot_ram(b, 0x9f000, 0x101000)) << "across two ranges";
}

TEST_F(Multiboot1, SaysNothingWithoutFlags) {
    put(base, u32{0});
    const BootInfo& b = read(magic_1);
    EXPECT_EQ(b.module_count + b.range_count, 0u);
    EXPECT_EQ(b.options(), "");
}

TEST_F(Multiboot1, StandsPointersToNowhere) {
    for (u64 field : {16, 24, 48}) {
        put(base + field, u32{0xfffffff0});
        read(magic_1);
    }
    EXPECT_EQ(info->module_count + info->range_count, 0u);
    EXPECT_EQ(info->options(), "");
    for (u64 at : {u64{0x1fffe}, u64{0x20000}, u64{0xffffffff}, ~u64{0}, ~u64{0} - 20}) {
        read(magic_1, at);
        EXPECT_EQ(info->module_count + info->range_count, 0u);
    }
}

TEST_F(Multiboot1, MemoryMapDoesNotRunAwayOrAround) {
    put(base + 44, ~u32{0}); // far longer than memory
    read(magic_1);
    EXPECT_EQ(info->range_count, 2u) << "an entry of size 0 ends it";
    put(0x4000, ~u32{0});
    read(magic_1);
    EXPECT_EQ(info->range_count, 1u);
    put(0x4000, u32{19}); // shorter than an entry
    read(magic_1);
    EXPECT_EQ(info->range_count, 0u);
    put(base + 44, u32{20}); // the last entry is cut off
    map_entry(0x4000, 0, 0x1000, 1);
    read(magic_1);
    EXPECT_EQ(info->range_count, 0u);
}

TEST_F(Multiboot1, ModulesBeyondTheRoomAreCounted) {
    put(base + 20, u32{6});
    for (u64 i = 0; i < 6; ++i)
        put(0x3000 + i * 16, static_cast<u32>(0x100000 * (i + 1))),
            put(0x3004 + i * 16, static_cast<u32>(0x100000 * (i + 2)));
    read(magic_1);
    EXPECT_EQ(info->module_count, 4u);
    EXPECT_EQ(info->modules_left_out, 2u);
    put(base + 20, ~u32{0});
    read(magic_1);
    EXPECT_EQ(info->module_count, 4u);
}

TEST_F(Multiboot1, TextsAreCutAndSayIt) {
    text(0x5000, std::string(1023, 'a'));
    put(base + 16, u32{0x5000});
    read(magic_1);
    EXPECT_EQ(info->options().size(), 1023u);
    EXPECT_FALSE(info->command_line.cut);
    text(0x5000, std::string(5000, 'a'));
    put(0x3008, u32{0x5000});
    read(magic_1);
    EXPECT_EQ(info->options().size(), 1023u);
    EXPECT_TRUE(info->command_line.cut);
    EXPECT_TRUE(info->modules[0].text.cut);
    std::fill(memory.begin() + 0x1f000, memory.end(), u8{'b'}); // without an end
    put(base + 16, u32{0x1fff0});
    read(magic_1);
    EXPECT_EQ(info->options(), std::string(16, 'b'));
}

TEST_F(Multiboot1, RangesAreOrderedAndDoNotOverlap) {
    put(base + 44, u32{7 * 24});
    map_entry(0x4000, 0x500000, 0x100000, 1);
    map_entry(0x4018, 0x100000, 0x200000, 1);
    map_entry(0x4030, 0x280000, 0x180000, 1);      // RAM that is told twice
    map_entry(0x4048, 0x4f0000, 0x20000, 2);       // its beginning is no RAM
    map_entry(0x4060, ~u64{0} - 0xfff, 0x1000, 2); // no such address
    map_entry(0x4078, 0x600000, ~u64{0}, 1);       // wraps around
    map_entry(0x4090, 0x120000, 0x1000, 5);        // bad memory in the middle
    const BootInfo& b = read(magic_1);
    u64 before = 0;
    for (const auto& range : b.memory()) {
        if (range.type != boot_ram || range.start == range.end)
            continue;
        EXPECT_LE(before, range.start);
        EXPECT_LT(range.start, range.end);
        before = range.end;
    }
    EXPECT_EQ(before, u64{1} << 52);
    EXPECT_TRUE(is_boot_ram(b, 0x100000, 0x120000));
    EXPECT_FALSE(is_boot_ram(b, 0x120000, 0x120001));
    EXPECT_TRUE(is_boot_ram(b, 0x510000, 0x600000));
    EXPECT_FALSE(is_boot_ram(b, 0x500000, 0x510000));
}

TEST_F(Boot, OtherLoadersAreNotKnown) {
    read(0x12345678);
    EXPECT_FALSE(known);
}

using Multiboot2 = Boot;

TEST_F(Multiboot2, IsRead) {
    begin();
    text(tag(1, 8 + 13) + 8, "loglvl=all xy");
    const u64 module = tag(3, 16 + 5);
    put(module + 8, u32{0x100000}), put(module + 12, u32{0x180000});
    text(module + 16, "quiet");
    const u64 map = tag(6, 16 + 2 * 24);
    put(map + 8, u32{24});
    put(map + 16, u64{0}), put(map + 24, u64{0x9fc00}), put(map + 32, u32{1});
    put(map + 40, u64{0x100000}), put(map + 48, u64{0x1000000}), put(map + 56, u32{1});
    const u64 rsdp = tag(15, 8 + 36);
    const BootInfo& b = finish();
    EXPECT_TRUE(known);
    EXPECT_EQ(b.options(), "loglvl=all xy");
    ASSERT_EQ(b.module_count, 1u);
    EXPECT_EQ(b.modules[0].text.view(), "quiet");
    ASSERT_EQ(b.range_count, 2u);
    EXPECT_EQ(b.rsdp, rsdp + 8);
}

TEST_F(Multiboot2, TextsEndWithTheirTag) {
    begin();
    const u64 line = tag(1, 8 + 4);
    text(line + 8, "abcdefgh"); // no end within the tag
    const u64 module = tag(3, 16);
    put(module + 8, u32{0x100000}), put(module + 12, u32{0x180000});
    finish();
    EXPECT_EQ(info->options(), "abcd");
    EXPECT_EQ(info->modules[0].text.view(), "");
}

TEST_F(Multiboot2, BrokenTagsEndTheList) {
    for (u32 size : {0u, 7u, 0x7fffffffu, 0xffffffffu, 0xfffffff9u}) {
        begin();
        tag(4, 16);
        const u64 broken = tag(3, 16);
        finish();
        put(broken + 4, size);
        read(magic_2);
        EXPECT_EQ(info->module_count, 0u) << size;
    }
    begin();
    tag(3, 15); // shorter than a module
    finish();
    EXPECT_EQ(info->module_count, 0u);
}

TEST_F(Multiboot2, TheMapsEntriesHaveASize) {
    for (u32 entry : {0u, 8u, 23u}) { // 0 would never end
        begin();
        const u64 map = tag(6, 16 + 24);
        put(map + 8, entry);
        put(map + 24, u64{0x1000}), put(map + 32, u32{1});
        finish();
        EXPECT_EQ(info->range_count, 0u) << entry;
    }
    begin();
    const u64 map = tag(6, 16 + 23); // one entry, cut off
    put(map + 8, u32{24});
    put(map + 24, u64{0x1000}), put(map + 32, u32{1});
    finish();
    EXPECT_EQ(info->range_count, 0u);
    begin();
    tag(6, 8); // shorter than its own head
    finish();
    EXPECT_EQ(info->range_count, 0u);
}

TEST_F(Multiboot2, TheTotalIsBounded) {
    begin();
    text(tag(1, 8 + 2) + 8, "x");
    finish();
    put(base, ~u32{0});
    read(magic_2);
    EXPECT_EQ(info->options(), "x");
    put(base, u32{8});
    read(magic_2);
    EXPECT_EQ(info->options(), "");
    EXPECT_TRUE(known);
    for (u64 at : {u64{0x1fffe}, u64{0x1fff8}, ~u64{0}}) {
        put(0x1fff8, u32{0x100}), put(0x1fffc, u32{1});
        read(magic_2, at);
        EXPECT_EQ(info->module_count, 0u);
    }
}

TEST_F(Multiboot2, ModulesThatEndBeforeTheyBeginAreEmpty) {
    begin();
    const u64 module = tag(3, 17);
    put(module + 8, u32{0x200000}), put(module + 12, u32{0x100000});
    finish();
    ASSERT_EQ(info->module_count, 1u);
    EXPECT_EQ(info->modules[0].start, info->modules[0].end);
}

TEST_F(Boot, StandsAnyBytes) {
    u64 random = 88172645463325252;
    for (int round = 0; round < 3000; ++round) {
        for (u64 at = base; at < base + 0x200; at += 4) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            // Small numbers, places inside, and anything: what fields of this kind hold.
            const u64 value = random % 3 == 0 ? random >> 32 : random % 3 == 1 ? random % 64 : base + random % 0x400;
            put(at, static_cast<u32>(value));
        }
        read(round % 2 ? magic_1 : magic_2);
        ASSERT_LE(info->range_count, info->ranges.size());
        ASSERT_LE(info->module_count, info->modules.size());
        u64 before = 0;
        for (const auto& range : info->memory()) {
            ASSERT_LE(range.start, range.end);
            if (range.type != boot_ram || range.start == range.end)
                continue;
            ASSERT_LE(before, range.start);
            before = range.end;
        }
    }
}

} // namespace
} // namespace domus::test
