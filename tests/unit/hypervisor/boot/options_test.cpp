// The hypervisor's command line: Xen's forms, and lines that nobody should write.
#include "hypervisor/boot/options.hpp"

#include <cstring>
#include <gtest/gtest.h>

namespace domus::test {
namespace {

using namespace domus::hv;

constexpr u64 kib = 1 << 10, mib = 1 << 20, gib = 1 << 30;

TEST(Options, Defaults) {
    const Options o = parse_options("");
    EXPECT_EQ(o.dom0_bytes, 0u);
    EXPECT_EQ(o.dom0_vcpus, 1u);
    EXPECT_EQ(o.baud, 115200u);
    EXPECT_EQ(o.serial_port, 0x3f8);
    EXPECT_FALSE(o.noreboot);
    EXPECT_STREQ(o.unknown, "");
}

TEST(Options, HowMuchOfTheExtensionIsOffered) {
    EXPECT_EQ(parse_options("").extension, ~0u);
    EXPECT_EQ(parse_options("extension=no").extension, 0u);
    EXPECT_EQ(parse_options("extension=0").extension, 0u);
    EXPECT_EQ(parse_options("extension=0x2").extension, 2u);
    EXPECT_STREQ(parse_options("extension=1").unknown, "");
    EXPECT_TRUE(parse_options("").superpages);
    EXPECT_FALSE(parse_options("superpages=0").superpages);
}

TEST(Options, FastByteMovesAreMeasuredUnlessSaid) {
    EXPECT_EQ(parse_options("").erms, std::nullopt);
    EXPECT_EQ(parse_options("erms=0").erms, false);
    EXPECT_EQ(parse_options("erms=1").erms, true);
    EXPECT_EQ(parse_options("erms").erms, true);
    EXPECT_STREQ(parse_options("erms=0").unknown, "");
}

TEST(Options, Dom0Memory) {
    const std::pair<const char*, u64> cases[] = {{"dom0_mem=512M", 512 * mib},
                                                 {"dom0_mem=1g", gib},
                                                 {"dom0_mem=262144K", 256 * mib},
                                                 {"dom0_mem=2048", 2048 * kib},
                                                 {"dom0_mem=4096B", 4096},
                                                 {"dom0_mem=0x10M", 16 * mib},
                                                 {"dom0_mem=512M,max:1G", 512 * mib},
                                                 {"dom0_mem=min:64M,max:1G", gib},
                                                 {"dom0_mem=max:1G,256M", 256 * mib},
                                                 {"dom0_mem=1G dom0_mem=2M", 2 * mib},
                                                 {"dom0_mem=", 0},
                                                 {"dom0_mem", 0},
                                                 {"dom0_mem=,,,", 0},
                                                 {"dom0_mem=M", 0}};
    for (const auto& [line, bytes] : cases)
        EXPECT_EQ(parse_options(line).dom0_bytes, bytes) << line;
}

// More than fits is much, not little.
TEST(Options, NumbersDoNotWrapAround) {
    for (const char* line : {"dom0_mem=99999999999999999999G", "dom0_mem=18014398509481985K",
                             "dom0_mem=0x1000000000000000000000001", "dom0_mem=18446744073709551617B"})
        EXPECT_EQ(parse_options(line).dom0_bytes, ~u64{0}) << line;
    EXPECT_EQ(parse_options("dom0_max_vcpus=4294967298").dom0_vcpus, 128u);
    EXPECT_EQ(parse_options("dom0_max_vcpus=129").dom0_vcpus, 128u);
    EXPECT_EQ(parse_options("dom0_max_vcpus=128").dom0_vcpus, 128u);
    EXPECT_EQ(parse_options("dom0_max_vcpus=0").dom0_vcpus, 1u);
    EXPECT_EQ(parse_options("dom0_max_vcpus=2-4").dom0_vcpus, 2u);
}

TEST(Options, SerialLine) {
    Options o = parse_options("com1=9600,8n1,0x2f8");
    EXPECT_EQ(o.baud, 9600u);
    EXPECT_EQ(o.serial_port, 0x2f8);
    EXPECT_EQ(parse_options("com1=9600").serial_port, 0x3f8);
    for (const char* line : {"com1=0", "com1=", "com1=4294967297", "com1=115201", "com1=,,", "com1=auto,8n1,0",
                             "com1=115200,8n1,0x103f8", "com1=115200,8n1,0xfff9", "com1=115200,8n1,"}) {
        o = parse_options(line);
        EXPECT_EQ(o.baud, 115200u) << line;
        EXPECT_EQ(o.serial_port, 0x3f8) << line;
    }
}

TEST(Options, Levels) {
    EXPECT_EQ(parse_options("loglvl=none").log_level, Level::Error);
    EXPECT_EQ(parse_options("loglvl=warning").log_level, Level::Warning);
    EXPECT_EQ(parse_options("loglvl=all guest_loglvl=info").log_level, Level::Debug);
    EXPECT_EQ(parse_options("guest_loglvl=info").guest_level, Level::Info);
    EXPECT_EQ(parse_options("guest_loglvl=none/all").guest_level, Level::Debug) << "all of it is rate-limited here";
    EXPECT_EQ(parse_options("loglvl=nonsense").log_level, Options{}.log_level);
    EXPECT_EQ(parse_options("guest_loglvl=").guest_level, Options{}.guest_level);
}

TEST(Options, NoReboot) {
    for (const char* line : {"noreboot", "noreboot=1", "noreboot=yes", "noreboot=true"})
        EXPECT_TRUE(parse_options(line).noreboot) << line;
    for (const char* line : {"noreboot=0", "noreboot=no", "noreboot noreboot=false", "reboot"})
        EXPECT_FALSE(parse_options(line).noreboot) << line;
}

TEST(Options, FastCrossingsAreOnUnlessSwitchedOff) {
    EXPECT_TRUE(parse_options("").fast_syscall && parse_options("").fast_iret);
    const Options o = parse_options("fast-syscall=0");
    EXPECT_TRUE(!o.fast_syscall && o.fast_iret);
    EXPECT_FALSE(parse_options("fast-iret=no").fast_iret);
    EXPECT_TRUE(parse_options("fast-iret=1").fast_iret);
    EXPECT_TRUE(parse_options("").fast_fault && !parse_options("fast-fault=0").fast_fault);
    EXPECT_TRUE(parse_options("").fast_hypercall && !parse_options("fast-hypercall=0").fast_hypercall);
    EXPECT_STREQ(parse_options("fast-iret=0 fast-syscall=0 fast-fault=0 fast-hypercall=0").unknown, "");
    EXPECT_EQ(parse_options("").unhook, unhook_after_default);
    EXPECT_EQ(parse_options("unhook=0").unhook, 0u);
    EXPECT_EQ(parse_options("").fast_tables, ~u32{0});
    EXPECT_EQ(parse_options("fast-tables=5").fast_tables, 5u);
    EXPECT_EQ(parse_options("fast-tables=no").fast_tables, 0u);
    EXPECT_EQ(parse_options("unhook=no").unhook, 0u);
    EXPECT_EQ(parse_options("unhook=100").unhook, 100u);
}

TEST(Options, UnknownOnesAreKeptForAWarning) {
    EXPECT_STREQ(parse_options("a b=1   c").unknown, " a b=1 c");
    EXPECT_STREQ(parse_options("console=com1,vga placeholder").unknown, "") << "Xen's, without meaning here";
    EXPECT_STREQ(parse_options("/boot/domus.elf x").unknown, " x");
    EXPECT_STREQ(parse_options("build/domus.elf x").unknown, " x") << "loaders put the file's name first";
    std::string line = "first";
    for (int i = 0; i < 1000; ++i)
        line += " word" + std::to_string(i);
    const Options o = parse_options(line + ' ' + std::string(5000, 'x'));
    EXPECT_LT(std::strlen(o.unknown), sizeof o.unknown);
    EXPECT_TRUE(std::string(o.unknown).starts_with(" first word0 word1"));
}

TEST(Options, StandAnyLine) {
    u64 random = 88172645463325252;
    const std::string_view parts[] = {"dom0_mem=", "com1=", "loglvl=", ",", "=", " ", "0x", "max:", "9", "G", "/", "-"};
    for (int i = 0; i < 20000; ++i) {
        std::string line;
        for (int k = 0; k < 12; ++k) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            if (random % 4)
                line += parts[random % std::size(parts)];
            else
                line += static_cast<char>(random >> 8);
        }
        const Options o = parse_options(line);
        ASSERT_GE(o.dom0_vcpus, 1u);
        ASSERT_LE(o.dom0_vcpus, 128u);
        ASSERT_LE(o.baud, 115200u);
        ASSERT_LE(o.serial_port, 0xfff8);
    }
}

} // namespace
} // namespace domus::test
