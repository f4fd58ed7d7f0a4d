// Bounces into the guest kernel and the iret hypercall back: the frames that Linux' xen-asm.S expects, and what a
// hostile guest must not get by a stack, a selector or flags of its choice. ISOLATION: iret, sysret, syscall class.
#include "cpu.hpp"

#include "hypervisor/pv/bounce.hpp"
#include "hypervisor/pv/hypercalls_pv.hpp"

namespace domus::test {
namespace {

using Bounces = CpuTest;
using Iret = CpuTest;

constexpr u64 every_flag = 0xffffffff;
constexpr u64 iopl = 3 << 12, nested = 1 << 14, resume = 1 << 16, virtual_8086 = 1 << 17, virtual_interrupts = 3 << 19;
constexpr u64 trap_flag = 1 << 8, alignment = 1 << 18;

TEST_F(Bounces, PushTheFrameOfAKernel) {
    r.rcx = 0x11, r.r11 = 0x22;
    bounce_to_guest(v, r, {handler, FLAT_KERNEL_CS});
    const u64 sp = ((stack_at - 0x100) & ~u64{15}) - 7 * 8;
    EXPECT_EQ(r.rsp, sp);
    EXPECT_EQ(r.rip, handler);
    const u64 expected[] = {0x11,          0x22, code_at, FLAT_KERNEL_CS & 0xfffc, 2 | flag_interrupt, stack_at - 0x100,
                            FLAT_KERNEL_SS};
    for (u32 i = 0; i < 7; ++i)
        EXPECT_EQ(word(sp + i * 8), expected[i]) << i;
    EXPECT_EQ(v.info->evtchn_upcall_mask, 0);
}

TEST_F(Bounces, ShowTheMaskInsteadOfTheFlag) {
    v.info->evtchn_upcall_mask = 1;
    bounce_to_guest(v, r, {handler, FLAT_KERNEL_CS, true, true, 0x77});
    EXPECT_EQ(word(r.rsp + 6 * 8), 0x77u) << "the error code lies behind four selectors";
    EXPECT_EQ(word(r.rsp + 8 * 8) >> 32, 1u);
    EXPECT_FALSE(word(r.rsp + 9 * 8) & flag_interrupt);
    v.info->evtchn_upcall_mask = 0;
    bounce_to_guest(v, r, {handler, FLAT_KERNEL_CS, true});
    EXPECT_EQ(v.info->evtchn_upcall_mask, 1) << "like an interrupt gate";
    EXPECT_EQ(word(r.rsp + 3 * 8) >> 32, 0u);
}

TEST_F(Bounces, LeaveUserModeForTheKernelsStackAndRoot) {
    cpu.gs_base = 1, cpu.other_gs_base = 2;
    user_mode();
    bounce_to_guest(v, r, {handler, FLAT_KERNEL_CS});
    EXPECT_TRUE(v.pv.in_kernel);
    EXPECT_EQ(m.loaded_root(), base_of(t.l4).n);
    EXPECT_EQ(cpu.gs_base, 2u);
    EXPECT_EQ(r.rsp, stack_at - 7 * 8);
    EXPECT_EQ(word(r.rsp + 3 * 8) & 3, 3u) << "the kernel is to see that it was user mode";
}

TEST_F(Bounces, EnterRing3WithHarmlessFlags) {
    r.rflags = every_flag;
    bounce_to_guest(v, r, {handler, 0x10});
    EXPECT_EQ(r.rflags & (iopl | nested | resume | virtual_8086 | trap_flag | alignment), 0u);
    EXPECT_TRUE(r.rflags & flag_interrupt);
    EXPECT_EQ(r.cs & 3, 3u);
    EXPECT_EQ(r.ss & 3, 3u);
}

TEST_F(Bounces, CrashAGuestWithoutHandler) {
    bounce_to_guest(v, r, {0, FLAT_KERNEL_CS, false, false, {}, "an exception"});
    EXPECT_TRUE(crashed());
    EXPECT_NE(m.console.find("an exception"), std::string::npos);
}

// Whatever the stack pointer: the frame is written where a guest may write, or the guest is gone.
class HostileStack : public CpuTest, public testing::WithParamInterface<u64> {};

TEST_P(HostileStack, OfTheKernelItself) {
    const GuestRegs before = (r.rsp = GetParam(), r);
    bounce_to_guest(v, r, {handler, FLAT_KERNEL_CS});
    EXPECT_TRUE(crashed());
    EXPECT_EQ(r.rip, before.rip);
    EXPECT_EQ(r.rsp, before.rsp);
}

TEST_P(HostileStack, ForUserMode) {
    user_mode();
    v.pv.kernel_sp = GetParam();
    bounce_to_guest(v, r, {handler, FLAT_KERNEL_CS, true, true, 0x77});
    EXPECT_TRUE(crashed());
    EXPECT_EQ(r.rip, code_at);
}

INSTANTIATE_TEST_SUITE_P(Anywhere, HostileStack,
                         testing::Values(0, 8, 0x38, 0x40,                    // wraps around, or ends at address 0
                                         0x10000,                             // nothing is mapped there
                                         fake::window_base,                   // the frame would lie before the page
                                         u64{1} << 47, (u64{1} << 47) + 0x20, // ends at, reaches beyond the lower half
                                         u64{1} << 62,                        // not canonical
                                         0xffff800000000000, 0xffff800000000020, // the hypervisor's first bytes
                                         0xffff830000001000,                     // its direct map
                                         0xffff880000000000, 0xffff880000000008, // its last bytes
                                         ~u64{0}));

TEST_F(Bounces, DoNotWriteToAReadOnlyPage) {
    const Mfn page = g.frame();
    arch::zero_frame(page);
    ASSERT_TRUE(update_one(t.l1, 16, entry::make(page, ro)));
    r.rsp = 17 * page_size;
    bounce_to_guest(v, r, {handler, FLAT_KERNEL_CS});
    EXPECT_TRUE(crashed());
    EXPECT_EQ(Guest::at(page, 511), 0u);
}

iret_context good_frame() {
    iret_context f{};
    f.rax = 0x1, f.r11 = 0x2, f.rcx = 0x3, f.rip = 0x5000, f.rsp = 0x6000, f.rflags = 1 << 9;
    f.cs = FLAT_USER_CS | 3, f.ss = FLAT_USER_SS | 3;
    return f;
}

class IretTest : public CpuTest {
protected:
    i64 iret(const iret_context& frame) {
        m.put(frame, data_at);
        r.rsp = data_at;
        Call c = call();
        return hypercall_iret(c).value();
    }
};

TEST_F(IretTest, GoesToUserMode) {
    cpu.gs_base = 1, cpu.other_gs_base = 2;
    v.info->evtchn_upcall_mask = 1;
    EXPECT_EQ(iret(good_frame()), 1);
    EXPECT_FALSE(v.pv.in_kernel);
    EXPECT_EQ(m.loaded_root(), base_of(user_l4).n);
    EXPECT_EQ(cpu.gs_base, 2u);
    EXPECT_EQ(r.rip, 0x5000u);
    EXPECT_EQ(r.rsp, 0x6000u);
    EXPECT_EQ(r.rcx, 3u);
    EXPECT_EQ(r.r11, 2u);
    EXPECT_EQ(v.info->evtchn_upcall_mask, 0);
}

TEST_F(IretTest, StaysInTheKernelByTheSelector) {
    auto f = good_frame();
    f.cs = FLAT_KERNEL_CS & ~3;
    f.rflags = 0;
    f.flags = VGCF_in_syscall;
    r.rcx = 0x33;
    EXPECT_EQ(iret(f), 1);
    EXPECT_TRUE(v.pv.in_kernel);
    EXPECT_EQ(m.loaded_root(), base_of(t.l4).n);
    EXPECT_EQ(r.rcx, 0x33u) << "a system call's rcx and r11 stay";
    EXPECT_EQ(r.cs & 3, 3u) << "ring 3 all the same";
    EXPECT_EQ(v.info->evtchn_upcall_mask, 1);
    EXPECT_TRUE(r.rflags & flag_interrupt) << "the flag itself is never off";
}

TEST_F(IretTest, TakesNoFlagThatIsNotTheGuests) {
    auto f = good_frame();
    f.rflags = ~u64{0};
    iret(f);
    EXPECT_EQ(r.rflags & (iopl | nested | resume | virtual_8086 | virtual_interrupts), 0u) << std::hex << r.rflags;
    EXPECT_EQ(r.rflags >> 22, 0u);
    EXPECT_TRUE(r.rflags & flag_interrupt);
    f.rflags = 0;
    iret(f);
    EXPECT_EQ(r.rflags, flag_interrupt | 2);
}

TEST_F(IretTest, ForcesRing3WhateverTheSelectors) {
    for (u64 selector : {u64{0xe008}, u64{0xe010}, u64{0}, ~u64{0} & ~u64{3}, u64{0xe040}}) {
        auto f = good_frame();
        f.cs = f.ss = selector;
        iret(f);
        EXPECT_EQ(r.cs & 3, 3u);
        EXPECT_EQ(r.ss & 3, 3u);
        EXPECT_LE(r.cs, 0xffffu);
        EXPECT_LE(r.ss, 0xffffu);
    }
}

// Where the return goes is judged by IRETQ alone: no SYSRET, so an address that is not canonical faults and is bounced.
TEST_F(IretTest, LeavesTheAddressToTheProcessor) {
    for (u64 rip : {not_canonical, in_hypervisor, ~u64{0}}) {
        auto f = good_frame();
        f.rip = rip;
        iret(f);
        EXPECT_EQ(r.rip, rip);
        EXPECT_FALSE(crashed());
        v.pv.in_kernel = true;
    }
}

TEST_F(IretTest, NeedsAUserRoot) {
    ASSERT_TRUE(ext(MMUEXT_NEW_USER_BASEPTR, Mfn(0)));
    iret(good_frame());
    EXPECT_TRUE(crashed());
    EXPECT_TRUE(v.pv.in_kernel);
    EXPECT_EQ(r.rip, code_at);
}

class HostileIretStack : public CpuTest, public testing::WithParamInterface<u64> {};

TEST_P(HostileIretStack, CrashesTheGuestOnly) {
    r.rsp = GetParam();
    Call c = call();
    EXPECT_TRUE(hypercall_iret(c));
    EXPECT_TRUE(crashed());
    EXPECT_EQ(r.rip, code_at);
    EXPECT_TRUE(v.pv.in_kernel);
}

INSTANTIATE_TEST_SUITE_P(Anywhere, HostileIretStack,
                         testing::Values(0, (u64{1} << 47) - 8, u64{1} << 47, u64{1} << 62, 0xffff800000000000 - 8,
                                         0xffff800000000000, 0xffff830000001000, 0xffff880000000000 - 8, ~u64{0} - 8,
                                         ~u64{0}));

} // namespace
} // namespace domus::test
