// I/O ports, model-specific registers and CPUID: what a guest in ring 3 is given of the machine, by list.
#include "cpu.hpp"

#include "hypervisor/pv/emulate.hpp"

namespace domus::test {
using fake::PortAccess;
namespace {

using Ports = CpuTest;
using PrivilegedPorts = PrivilegedCpuTest;
using Msrs = CpuTest;
using Cpuid = CpuTest;

TEST_F(Ports, ByIoLevelAndMode) {
    EXPECT_FALSE(may_use_ports(v, 0x70, 1));
    v.pv.iopl = 1;
    EXPECT_TRUE(may_use_ports(v, 0x70, 1));
    user_mode();
    EXPECT_FALSE(may_use_ports(v, 0x70, 1));
    v.pv.iopl = 3;
    EXPECT_TRUE(may_use_ports(v, 0x70, 1));
}

TEST_F(Ports, ByBitmapForUserMode) {
    const Mfn page = g.frame();
    arch::zero_frame(page);
    std::memset(m.frame(page), 0xff, 0x100);
    m.frame(page)[0x70 / 8] = 0xfe; // 0x70
    m.frame(page)[0x77 / 8 + 1] = 0xff;
    v.pv.io_bitmap = data_at;
    std::memcpy(m.window(data_at, 0x100), m.frame(page), 0x100);
    v.pv.io_ports = 0x100 * 8;
    EXPECT_FALSE(may_use_ports(v, 0x70, 1)) << "the kernel goes by its I/O level";
    user_mode();
    EXPECT_TRUE(may_use_ports(v, 0x70, 1));
    EXPECT_FALSE(may_use_ports(v, 0x70, 2));
    EXPECT_FALSE(may_use_ports(v, 0x71, 1));
    EXPECT_FALSE(may_use_ports(v, 0x800, 1)) << "beyond the bitmap";
    v.pv.io_ports = 0x71;
    EXPECT_TRUE(may_use_ports(v, 0x70, 1));
    v.pv.io_ports = 0x70;
    EXPECT_FALSE(may_use_ports(v, 0x70, 1));
    v.pv.io_ports = 65536;
    for (u64 map : {in_hypervisor, not_canonical, u64{0x3000}, ~u64{0}, ~u64{0} - 0xe}) {
        v.pv.io_bitmap = map;
        EXPECT_FALSE(may_use_ports(v, 0x70, 1)) << std::hex << map;
        EXPECT_FALSE(may_use_ports(v, 0xffff, 4));
    }
}

TEST_F(Ports, AnUnprivilegedGuestSeesAnEmptyBus) {
    cpu.port_value = 0x12345678;
    v.pv.iopl = 3;
    EXPECT_EQ(guest_port_in(v, 0x3f8, 1), 0xffu);
    EXPECT_EQ(guest_port_in(v, 0x1f0, 2), 0xffffu);
    EXPECT_EQ(guest_port_in(v, 0xcf8, 4), ~0u);
    EXPECT_EQ(guest_port_in(v, 0x42, 1), 0u) << "a timer that never stands at 0xff: nobody calibrates by it";
    for (u32 port = 0; port < 65536; ++port)
        guest_port_out(v, static_cast<u16>(port), 1, 0);
    EXPECT_TRUE(cpu.ports.empty());
}

TEST_F(PrivilegedPorts, ReachEverythingButTheHypervisorsOwn) {
    v.pv.iopl = 3;
    u32 reached = 0;
    for (u32 port = 0; port < 65536; ++port) {
        cpu.ports.clear();
        guest_port_out(v, static_cast<u16>(port), 1, 0);
        const bool own = (port & ~0x81u) == 0x20 || (port & ~3u) == 0x40 || (port & ~7u) == 0x3f8;
        EXPECT_EQ(cpu.ports.empty(), own) << std::hex << port;
        reached += !own;
    }
    EXPECT_GT(reached, 65000u);
    cpu.ports.clear();
    for (u16 port : {0x1e, 0x1f, 0x21, 0x3d, 0x3f, 0x43, 0x3f5, 0x3ff, 0x9f}) // a wide access from before
        guest_port_out(v, port, 4, 0);
    EXPECT_TRUE(cpu.ports.empty());
    guest_port_out(v, 0x1c, 4, 7);
    EXPECT_EQ(cpu.ports.back(), (PortAccess{0x1c, 4, false, 7}));
}

TEST_F(PrivilegedPorts, InstructionsInAllForms) {
    v.pv.iopl = 1;
    cpu.port_value = 0xa1b2c3d4;
    r.rdx = 0xffff'0070;
    struct {
        std::vector<u8> bytes;
        u16 port;
        u32 size;
        u64 rax;
    } const inputs[] = {{{0xec}, 0x70, 1, 0x11111111111111d4},
                        {{0xe4, 0x71}, 0x71, 1, 0x11111111111111d4},
                        {{0x66, 0xed}, 0x70, 2, 0x111111111111c3d4},
                        {{0xed}, 0x70, 4, 0xa1b2c3d4},
                        {{0xe5, 0x72}, 0x72, 4, 0xa1b2c3d4}};
    for (const auto& in : inputs) {
        r.rax = 0x1111111111111111;
        code(in.bytes);
        ASSERT_TRUE(emulate_privileged(v, r));
        EXPECT_EQ(cpu.ports.back(), (PortAccess{in.port, in.size, true, 0xa1b2c3d4}));
        EXPECT_EQ(r.rax, in.rax);
        EXPECT_EQ(r.rip, code_at + in.bytes.size());
    }
    code({0x66, 0xe7, 0x80});
    r.rax = 0xabcd1234;
    EXPECT_TRUE(emulate_privileged(v, r));
    EXPECT_EQ(cpu.ports.back().port, 0x80);
    EXPECT_EQ(cpu.ports.back().bytes, 2u);
}

TEST_F(PrivilegedPorts, StringsOneElementAtATime) {
    v.pv.iopl = 1;
    cpu.port_value = 0x55;
    r.rdx = 0x1f0, r.rdi = data_at, r.rcx = 3;
    code({0xf3, 0x6c}); // rep insb
    for (u64 left : {2u, 1u}) {
        ASSERT_TRUE(emulate_privileged(v, r));
        EXPECT_EQ(r.rip, code_at);
        EXPECT_EQ(r.rcx, left);
    }
    ASSERT_TRUE(emulate_privileged(v, r));
    EXPECT_EQ(r.rip, code_at + 2);
    EXPECT_EQ(r.rdi, data_at + 3);
    EXPECT_EQ(m.get<u32>(data_at) & 0xffffff, 0x555555u);
    code({0xf3, 0x6c});
    ASSERT_TRUE(emulate_privileged(v, r)) << "nothing left to do";
    EXPECT_EQ(cpu.ports.size(), 3u);
    code({0x6f}); // outsl
    m.put(u32{0xfeedface}, data_at);
    r.rsi = data_at, r.rflags |= 1 << 10; // downwards
    ASSERT_TRUE(emulate_privileged(v, r));
    EXPECT_EQ(cpu.ports.back(), (PortAccess{0x1f0, 4, false, 0xfeedface}));
    EXPECT_EQ(r.rsi, data_at - 4);
}

TEST_F(PrivilegedPorts, StringsReachGuestMemoryOnly) {
    v.pv.iopl = 3;
    for (u64 address : {in_hypervisor, 0xffff800000000000 - 2, not_canonical - 2, ~u64{0} - 2, u64{0x3000}}) {
        r.rdi = r.rsi = address, r.rdx = 0x1f0;
        code({0x6d});
        EXPECT_FALSE(emulate_privileged(v, r)) << std::hex << address;
        cpu.ports.clear();
        code({0x6f});
        EXPECT_FALSE(emulate_privileged(v, r)) << std::hex << address;
        EXPECT_TRUE(cpu.ports.empty());
        EXPECT_EQ(r.rip, code_at);
    }
}

TEST_F(Msrs, AreReadByAllowList) {
    for (u32 number : {0x10u, 0x1bu, 0x1a0u, 0x277u, 0xc0000080u})
        cpu.msrs[number] = ~u64{0};
    cpu.fs_base = 1, cpu.gs_base = 2, cpu.other_gs_base = 3;
    EXPECT_EQ(guest_read_msr(v, 0xc0000100).value(), 1u);
    EXPECT_EQ(guest_read_msr(v, 0xc0000101).value(), 2u);
    EXPECT_EQ(guest_read_msr(v, 0xc0000102).value(), 3u);
    EXPECT_EQ(guest_read_msr(v, 0xc0000080).value(), 0xd01u);
    EXPECT_EQ(guest_read_msr(v, 0x1b).value() & 1 << 10, 0u) << "x2APIC mode is not told";
    const std::set<u32> zero = {0x8b, 0x179, 0x17a, 0xc0010010, 0xc0010015, 0xc001001f};
    const std::set<u32> known = {0x10, 0x1b, 0x3a, 0x1a0, 0x277, 0xc0000080, 0xc0000100, 0xc0000101, 0xc0000102};
    for (u32 first : {0u, 0x40000000u, 0xc0000000u, 0xc0010000u}) {
        for (u32 number = first; number < first + 0x2000; ++number) {
            cpu.msrs[number] = 0x5ec3e7; // the CPU has them all
            const auto value = guest_read_msr(v, number);
            if (zero.contains(number))
                EXPECT_EQ(value.value(), 0u) << std::hex << number;
            else
                EXPECT_EQ(value.ok(), known.contains(number)) << std::hex << number;
        }
    }
    cpu.msrs.clear();
    EXPECT_FALSE(guest_read_msr(v, 0x1a0)) << "the CPU has none: #GP, not a panic";
}

TEST_F(Msrs, AreWrittenByAShorterOne) {
    for (u32 number : {0xc0000100u, 0xc0000101u, 0xc0000102u}) {
        EXPECT_TRUE(guest_write_msr(v, number, 0xffff800000000000));
        for (u64 base : {not_canonical, u64{1} << 62, 0xffff7fffffffffff})
            EXPECT_FALSE(guest_write_msr(v, number, base));
    }
    EXPECT_EQ(cpu.fs_base, 0xffff800000000000);
    for (u32 first : {0u, 0x40000000u, 0xc0000000u, 0xc0010000u}) {
        for (u32 number = first; number < first + 0x2000; ++number) {
            cpu.msrs[number] = 5;
            const bool own = number == 0x8b || (number >= 0xc0000100 && number <= 0xc0000102);
            EXPECT_EQ(guest_write_msr(v, number, 0x77).ok(), own) << std::hex << number;
        }
    }
    cpu.msrs[0x277] = 0x0007040600070406;
    EXPECT_TRUE(guest_write_msr(v, 0x277, 0x0007040600070406)) << "what stands there already";
    EXPECT_FALSE(guest_write_msr(v, 0x277, 0));
}

TEST_F(Msrs, InstructionsUseTheLowHalves) {
    code({0x0f, 0x30});
    r.rcx = 0xdead'0000'c000'0100, r.rax = 0x1111'0000'0000'1000, r.rdx = 0x2222'0000'0000'0001;
    EXPECT_TRUE(emulate_privileged(v, r));
    EXPECT_EQ(cpu.fs_base, 0x1'0000'1000u);
    code({0x0f, 0x32});
    EXPECT_TRUE(emulate_privileged(v, r));
    EXPECT_EQ(r.rax, 0x1000u);
    EXPECT_EQ(r.rdx, 1u);
}

// The fake CPU has every feature: what comes through is what the lists name.
TEST_F(Cpuid, HidesWhatRing3CannotUse) {
    const auto one = guest_cpuid(v, 1, 0);
    for (u32 bit : {2u, 3u, 5u, 7u, 8u, 10u, 15u, 17u, 18u, 21u, 24u}) // DTES64, MONITOR, VMX, EST, TM2, ... x2APIC
        EXPECT_FALSE(one.ecx >> bit & 1) << bit;
    for (u32 bit : {1u, 3u, 9u, 12u, 13u, 17u, 21u, 22u, 29u}) // VME, PSE, APIC, MTRR, PGE, PSE36, thermal
        EXPECT_FALSE(one.edx >> bit & 1) << bit;
    EXPECT_TRUE(one.ecx >> 31 & 1);
    const auto seven = guest_cpuid(v, 7, 0);
    for (u32 bit : {0u, 2u, 7u, 10u, 12u, 15u, 20u}) // FSGSBASE, SGX, SMEP, INVPCID, RDT-M, RDT-A, SMAP
        EXPECT_FALSE(seven.ebx >> bit & 1) << bit;
    for (u32 bit : {2u, 3u, 4u, 5u, 7u, 16u}) // UMIP, PKU, OSPKE, WAITPKG, CET, LA57
        EXPECT_FALSE(seven.ecx >> bit & 1) << bit;
    EXPECT_EQ(seven.edx, 0u);
    const auto extended = guest_cpuid(v, 0x80000001, 0);
    EXPECT_FALSE(extended.edx >> 9 & 1) << "the local APIC";
    EXPECT_FALSE(extended.edx >> 25 & 1) << "FFXSR";
    EXPECT_FALSE(extended.edx >> 26 & 1) << "1 GiB pages";
    EXPECT_FALSE(extended.edx >> 27 & 1) << "RDTSCP";
    EXPECT_FALSE(extended.ecx >> 2 & 1) << "SVM";
    EXPECT_TRUE(extended.edx >> 29 & 1) << "long mode";
}

TEST_F(Cpuid, TellsOfFastByteMovesWhereTheyAreFast) {
    constexpr u32 erms = 1 << 9;
    const u32 others = guest_cpuid(v, 7, 0).ebx & ~erms;
    offer_byte_moves(false);
    EXPECT_EQ(guest_cpuid(v, 7, 0).ebx, others);
    offer_byte_moves(true);
    EXPECT_EQ(guest_cpuid(v, 7, 0).ebx, others | erms);
}

TEST_F(Cpuid, LimitsLeavesAndState) {
    EXPECT_EQ(guest_cpuid(v, 0, 0).eax, 0xdu);
    EXPECT_EQ(guest_cpuid(v, 0x80000000, 0).eax, 0x80000008u);
    EXPECT_EQ(guest_cpuid(v, 0x80000008, 0).eax >> 8 & 0xff, 48u);
    EXPECT_EQ(guest_cpuid(v, 0xd, 0).eax, 7u) << "x87, SSE, AVX: no state that is not switched";
    EXPECT_EQ(guest_cpuid(v, 0xd, 0).ecx, 832u);
    EXPECT_EQ(guest_cpuid(v, 0xd, 9).eax, 0u);
    EXPECT_EQ(guest_cpuid(v, 0xd, ~0u).eax, 0u);
    EXPECT_EQ(guest_cpuid(v, 0xd, 1).eax, 1u) << "XSAVES and its kin are privileged";
    for (u32 leaf : {3u, 5u, 6u, 8u, 0xau, 0xbu, 0xcu, 0xeu, 0x12u, 0x14u, 0x3fffffffu, 0x40000004u, 0x400000ffu,
                     0x4000ffffu, 0x80000009u, 0x8000001du, ~0u}) {
        const auto a = guest_cpuid(v, leaf, 0);
        EXPECT_EQ(a.eax | a.ebx | a.ecx | a.edx, 0u) << std::hex << leaf;
    }
}

TEST_F(Cpuid, NamesTheHypervisor) {
    const auto a = guest_cpuid(v, 0x40000000, 0);
    const u32 name[3] = {a.ebx, a.ecx, a.edx};
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(name), 12), "XenVMMXenVMM");
    EXPECT_EQ(guest_cpuid(v, 0x40000001, 0).eax, 4u << 16 | 17);
    EXPECT_EQ(guest_cpuid(v, 0x40000101, 0).ecx, g.domain->id.n);
}

} // namespace
} // namespace domus::test
