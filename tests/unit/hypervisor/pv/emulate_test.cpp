// Privileged instructions of a PV kernel: what is done for it, what stays #GP, and what a hostile kernel cannot reach.
#include "cpu.hpp"

#include "hypervisor/pv/emulate.hpp"

namespace domus::test {
namespace {

using Emulate = CpuTest;
using EmulatePrivileged = PrivilegedCpuTest;

TEST_F(Emulate, ReadsControlRegisters) {
    v.pv.cr2 = 0x1234;
    code({0x0f, 0x20, 0xd0}); // mov %cr2, %rax
    EXPECT_TRUE(emulate_privileged(v, r));
    EXPECT_EQ(r.rax, 0x1234u);
    EXPECT_EQ(r.rip, code_at + 3);
    code({0x41, 0x0f, 0x20, 0xdf}); // mov %cr3, %r15
    EXPECT_TRUE(emulate_privileged(v, r));
    EXPECT_EQ(r.r15, base_of(t.l4).n);
    arch::set_task_switched(true);
    code({0x0f, 0x20, 0xc1}); // mov %cr0, %rcx
    EXPECT_TRUE(emulate_privileged(v, r));
    EXPECT_EQ(r.rcx & 8, 8u);
    code({0x44, 0x0f, 0x20, 0xc0}); // mov %cr8, %rax: the real task priority
    EXPECT_FALSE(emulate_privileged(v, r));
    EXPECT_EQ(r.rip, code_at);
}

TEST_F(Emulate, WritesOfControlRegistersAreTheGuestsOwn) {
    code({0x0f, 0x22, 0xe0}); // mov %rax, %cr4
    r.rax = ~u64{0};
    EXPECT_TRUE(emulate_privileged(v, r));
    EXPECT_EQ(v.pv.cr4, guest_cr4_mask);
    code({0x0f, 0x22, 0xc0}); // mov %rax, %cr0: only TS counts
    r.rax = 8;
    EXPECT_TRUE(emulate_privileged(v, r));
    EXPECT_TRUE(cpu.task_switched);
    EXPECT_EQ(v.pv.cr0, 0x80050033u);
    code({0x0f, 0x06}); // clts
    EXPECT_TRUE(emulate_privileged(v, r));
    EXPECT_FALSE(cpu.task_switched);
}

TEST_F(Emulate, LoadsARootThatIsValidatedInPieces) {
    const Tables other = build(g);
    for (u32 i = 1; i < 8; ++i) {
        const Mfn l1 = g.frame();
        arch::zero_frame(l1);
        Guest::at(other.l2, i) = entry::make(l1, rw);
    }
    code({0x0f, 0x22, 0xd8}); // mov %rax, %cr3
    r.rax = base_of(other.l4).n;
    m.yield_every = 1;
    u32 runs = 0;
    while (r.rip == code_at) {
        ASSERT_TRUE(emulate_privileged(v, r)) << "a #GP for a root that is only not ready yet";
        ASSERT_LT(++runs, 100u);
    }
    m.yield_every = 0;
    EXPECT_GT(runs, 2u) << "the work was to be done in pieces";
    EXPECT_EQ(m.loaded_root(), base_of(other.l4).n);
    EXPECT_EQ(r.rip, code_at + 3);
    expect_sound({other.l4, user_l4});
}

TEST_F(Emulate, RefusesARootThatIsNone) {
    const Mfn rubbish = g.frame();
    Guest::at(t.l1, 7) = 0; // or its mapping would be the reason
    std::memset(arch::frame_as<u8>(rubbish), 0xa5, page_size);
    code({0x0f, 0x22, 0xd8});
    for (u64 value : {base_of(rubbish).n, u64{fake::ram_frames} << 12, ~u64{0}, u64{0}}) {
        r.rax = value;
        EXPECT_FALSE(emulate_privileged(v, r)) << std::hex << value;
        EXPECT_EQ(r.rip, code_at);
        EXPECT_EQ(m.loaded_root(), base_of(t.l4).n);
    }
}

TEST_F(Emulate, TakesAnEmptyRootWhichHurtsTheGuestOnly) {
    const Mfn empty = g.frame();
    arch::zero_frame(empty);
    code({0x0f, 0x22, 0xd8});
    r.rax = base_of(empty).n | 1; // bits of the low twelve are not the frame's
    EXPECT_TRUE(emulate_privileged(v, r));
    EXPECT_EQ(m.loaded_root(), base_of(empty).n);
}

TEST_F(Emulate, RefusesARootThatIsMappedWritable) {
    const Tables other = build(g);
    ASSERT_TRUE(update_one(t.l1, 9, entry::make(other.l4, rw)));
    code({0x0f, 0x22, 0xd8});
    r.rax = base_of(other.l4).n;
    EXPECT_FALSE(emulate_privileged(v, r));
    EXPECT_EQ(m.loaded_root(), base_of(t.l4).n);
}

TEST_F(Emulate, NothingIsPrivilegedInUserMode) {
    const std::vector<std::vector<u8>> instructions = {
        {0x0f, 0x20, 0xc0}, {0x0f, 0x22, 0xd8}, {0x0f, 0x30}, {0x0f, 0x32}, {0x0f, 0x06},
        {0x0f, 0x01, 0xd1}, {0x0f, 0x09},       {0xfa},       {0xec}};
    for (const auto& bytes : instructions) {
        user_mode();
        code(bytes);
        const GuestRegs before = r;
        EXPECT_FALSE(emulate_privileged(v, r)) << testing::PrintToString(bytes);
        EXPECT_EQ(std::memcmp(&r, &before, sizeof r), 0);
    }
}

TEST_F(Emulate, ExtendedControlRegisterByTheManualsRules) {
    struct {
        u64 number, value;
        bool allowed;
    } const cases[] = {{0, 1, true},
                       {0, 3, true},
                       {0, 7, true},
                       {0, 0, false},
                       {0, 2, false},
                       {0, 6, false},
                       {0, 5, false},
                       {0, 8, false},
                       {0, 7 | 1u << 9, false},
                       {1, 1, false},
                       {0, u64{1} << 63 | 1, false}};
    for (const auto& c : cases) {
        cpu.xcr0 = 1;
        code({0x0f, 0x01, 0xd1});
        r.rcx = c.number;
        r.rax = static_cast<u32>(c.value);
        r.rdx = c.value >> 32;
        EXPECT_EQ(emulate_privileged(v, r), c.allowed) << c.value;
        EXPECT_EQ(cpu.xcr0, c.allowed ? c.value : 1) << c.value;
    }
    cpu.xcr0_allowed = 0; // a CPU without XSAVE
    code({0x0f, 0x01, 0xd1});
    r.rcx = r.rdx = 0, r.rax = 1;
    EXPECT_FALSE(emulate_privileged(v, r));
}

TEST_F(Emulate, InterruptFlagByIoLevel) {
    code({0xfa});
    EXPECT_FALSE(emulate_privileged(v, r));
    v.pv.iopl = 1;
    EXPECT_TRUE(emulate_privileged(v, r));
    EXPECT_TRUE(r.rflags & flag_interrupt) << "cli of a guest is not ours";
}

TEST_F(Emulate, StandsAnyBytesAnywhere) {
    u64 random = 88172645463325252;
    const auto next = [&] {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        return random;
    };
    v.pv.iopl = 3;
    const u64 places[] = {code_at, fake::window_base + fake::window_size - 3, in_hypervisor, not_canonical,
                          ~u64{0} - 2};
    for (int i = 0; i < 100000; ++i) {
        std::vector<u8> bytes(3 + next() % 12);
        for (u8& b : bytes)
            b = static_cast<u8>(next());
        if (i % 2)
            bytes[0] = 0x0f;
        code(bytes);
        const u64 place = places[next() % 5];
        r.rip = i % 8 ? code_at : place;
        r.rax = next(), r.rcx = next() % 4, r.rdx = next(), r.rsi = next(), r.rdi = next(), r.rsp = next();
        const u64 start = r.rip;
        if (emulate_privileged(v, r))
            ASSERT_LE(r.rip - start, 15u);
        else
            ASSERT_EQ(r.rip, start);
    }
    ASSERT_TRUE(ext(MMUEXT_NEW_BASEPTR, t.l4)); // some of the bytes were a load of CR3
    EXPECT_TRUE(is_canonical(cpu.fs_base) && is_canonical(cpu.gs_base) && is_canonical(cpu.other_gs_base));
    EXPECT_TRUE(cpu.ports.empty()) << "an unprivileged guest reached a port";
}

TEST_F(Emulate, ForcedCpuid) {
    code({0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2});
    r.rax = 0x40000000;
    EXPECT_TRUE(emulate_forced_cpuid(v, r));
    EXPECT_EQ(r.rbx, 0x566e6558u); // "XenV"
    EXPECT_EQ(r.rip, code_at + 7);
    code({0x0f, 0x0b, 'x', 'e', 'm', 0x0f, 0xa2});
    EXPECT_FALSE(emulate_forced_cpuid(v, r));
    r.rip = in_hypervisor;
    EXPECT_FALSE(emulate_forced_cpuid(v, r));
}

} // namespace
} // namespace domus::test
