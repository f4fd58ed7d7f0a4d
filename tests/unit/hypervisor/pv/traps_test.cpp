// What comes in from a running guest: exceptions, software interrupts, system calls, hypercalls, refused returns.
#include "cpu.hpp"

#include "hypervisor/pv/bounce.hpp"

namespace domus::test {
namespace {

class Traps : public CpuTest {
protected:
    static constexpr u64 gp_handler = handler + 13 * 16;
    Traps() {
        set_handler(13, gp_handler);
        set_handler(14, handler + 14 * 16, 4);
        set_handler(6, handler + 6 * 16);
    }
    void trap(u32 vector, u32 error = 0) {
        r.vector = vector;
        r.error_code = error;
        guest_trap(v, r);
    }
    u64 pushed_error() { return word(r.rsp + 2 * 8); }
    u64 pushed_rip(bool with_error = true) { return word(r.rsp + (with_error ? 3 : 2) * 8); }
};

TEST_F(Traps, PageFaultsNameAddressAndMode) {
    cpu.fault_address = 0x123000;
    trap(14, 2 | 4);
    EXPECT_EQ(r.rip, handler + 14 * 16);
    EXPECT_EQ(pushed_error(), 2u) << "the guest kernel's own: without the U bit";
    EXPECT_EQ(v.info->arch.cr2, 0x123000u);
    EXPECT_EQ(v.info->evtchn_upcall_mask, 1) << "its gate masks events";
    user_mode();
    trap(14, 4);
    EXPECT_EQ(pushed_error(), 4u);
}

TEST_F(Traps, WithoutHandlerCrashTheGuestWithAReason) {
    trap(0);
    EXPECT_TRUE(crashed());
    EXPECT_NE(m.console.find("no handler"), std::string::npos);
}

TEST_F(Traps, SoftwareInterruptsByTheTablesPrivilege) {
    set_handler(0x81, handler, 1);
    set_handler(0x82, handler, 0);
    set_handler(0x83, handler, 3);
    code({0xcd, 0x81});
    trap(13, 0x81 << 3 | 2);
    EXPECT_EQ(r.rip, handler);
    EXPECT_EQ(pushed_rip(false), code_at + 2);
    for (u8 closed : {u8{0x82}, u8{0x84}}) {
        code({0xcd, closed});
        trap(13, u32{closed} << 3 | 2);
        EXPECT_EQ(r.rip, gp_handler);
        EXPECT_EQ(pushed_error(), u32{closed} << 3 | 2);
        EXPECT_EQ(pushed_rip(), code_at);
    }
    user_mode();
    code({0xcd, 0x81});
    trap(13, 0x81 << 3 | 2);
    EXPECT_EQ(r.rip, gp_handler) << "open to the kernel only";
    user_mode();
    code({0xcd, 0x83});
    trap(13, 0x83 * 16 + 2); // the code some emulators give
    EXPECT_EQ(r.rip, handler);
}

TEST_F(Traps, Int80IsOpenOnlyIfTheTableSaysSo) {
    r.rip = code_at + 2;
    trap(0x80);
    EXPECT_EQ(r.rip, gp_handler);
    EXPECT_EQ(pushed_rip(), code_at);
    EXPECT_EQ(pushed_error(), 0x80u << 3 | 2);
    set_handler(0x80, handler, 3);
    r.rip = code_at + 2;
    trap(0x80);
    EXPECT_EQ(r.rip, handler);
    EXPECT_EQ(pushed_rip(false), code_at + 2);
}

TEST_F(Traps, AnErrorCodeThatNamesASelectorIsTheGuests) {
    code({0x0f, 0x06}); // clts, were the code zero
    trap(13, 0x20);
    EXPECT_EQ(r.rip, gp_handler);
    EXPECT_EQ(pushed_error(), 0x20u);
    code({0x0f, 0x06});
    trap(13);
    EXPECT_EQ(r.rip, code_at + 2);
}

TEST_F(Traps, CodeThatCannotBeReadIsBounced) {
    for (u64 rip : {u64{0x3000}, in_hypervisor, not_canonical, ~u64{0}}) {
        r.rip = rip;
        trap(13, 2);
        EXPECT_EQ(r.rip, gp_handler);
        r.rip = rip;
        trap(13);
        EXPECT_EQ(r.rip, gp_handler);
        r.rip = rip;
        trap(6);
        EXPECT_EQ(r.rip, handler + 6 * 16);
    }
}

TEST_F(Traps, DeviceNotAvailableClearsTaskSwitched) {
    set_handler(7);
    arch::set_task_switched(true);
    trap(7);
    EXPECT_FALSE(cpu.task_switched);
    EXPECT_EQ(r.rip, handler);
}

TEST_F(Traps, DebugExceptionsTellWhatHappened) {
    set_handler(1);
    cpu.debug_status = 0xffff0ff1;
    trap(1);
    EXPECT_EQ(v.pv.dr[6], 0xffff0ff1u);
    EXPECT_EQ(r.rip, handler);
}

TEST_F(Traps, SystemCallsGoToTheKernelOrAreInvalid) {
    v.pv.syscall_entry = handler;
    user_mode();
    guest_syscall(v, r);
    EXPECT_EQ(r.rip, handler);
    EXPECT_TRUE(v.pv.in_kernel);
    v.pv.syscall_entry = 0;
    user_mode();
    r.rip = code_at + 2;
    guest_syscall(v, r);
    EXPECT_EQ(r.rip, handler + 6 * 16) << "as a CPU without SYSCALL";
    EXPECT_EQ(pushed_rip(false), code_at);
}

TEST_F(Traps, HypercallsByNumber) {
    r.rax = __HYPERVISOR_xen_version;
    r.rdi = XENVER_version;
    guest_hypercall(v, r);
    EXPECT_EQ(r.rax, 4u << 16 | 17);
    for (u64 number : {u64{63}, u64{64}, u64{0xffffffff}, ~u64{0}}) {
        r.rax = number;
        guest_hypercall(v, r);
        EXPECT_EQ(static_cast<i64>(r.rax), -XEN_ENOSYS);
    }
    for (u64 number : {__HYPERVISOR_domctl, __HYPERVISOR_sysctl, __HYPERVISOR_platform_op}) {
        r.rax = number;
        r.rdi = data_at;
        guest_hypercall(v, r);
        EXPECT_EQ(static_cast<i64>(r.rax), -XEN_EPERM) << number;
    }
    EXPECT_EQ(r.rip, code_at);
}

TEST_F(Traps, AHypercallThatStopsIsExecutedAgain) {
    const Tables other = build(g);
    for (u32 i = 1; i < 8; ++i) {
        const Mfn l1 = g.frame();
        arch::zero_frame(l1);
        Guest::at(other.l2, i) = entry::make(l1, rw);
    }
    mmuext_op_t op{};
    op.cmd = MMUEXT_PIN_L4_TABLE;
    op.arg1.mfn = other.l4.n;
    m.put(op, data_at);
    m.yield_every = 1;
    u32 runs = 0;
    r.rdi = data_at, r.rsi = 1, r.rdx = 0, r.r10 = DOMID_SELF;
    for (;; ++runs) {
        r.rip = code_at + 2;
        r.rax = __HYPERVISOR_mmuext_op;
        guest_hypercall(v, r);
        if (r.rip != code_at)
            break;
        ASSERT_EQ(r.rax, u64{__HYPERVISOR_mmuext_op}) << "SYSCALL again needs the number";
        ASSERT_LT(runs, 100u);
    }
    m.yield_every = 0;
    EXPECT_GT(runs, 2u);
    EXPECT_EQ(r.rax, 0u);
    EXPECT_TRUE(ext(MMUEXT_UNPIN_TABLE, other.l4));
}

TEST_F(Traps, ARefusedReturnIsToldOnce) {
    v.pv.failsafe_entry = handler;
    cpu.ds = 1, cpu.es = 2, cpu.fs = 3, cpu.gs = 4;
    user_mode();
    r.rip = not_canonical;
    guest_failed_return(v, r);
    EXPECT_EQ(r.rip, handler);
    for (u64 i = 0; i < 4; ++i)
        EXPECT_EQ(word(r.rsp + (2 + i) * 8), i + 1);
    EXPECT_EQ(word(r.rsp + 6 * 8), not_canonical);
    guest_failed_return(v, r);
    EXPECT_TRUE(crashed()) << "the callback itself was refused: for ever otherwise";
}

TEST_F(Traps, ARefusedReturnWithoutCallbackEndsTheGuest) {
    guest_failed_return(v, r);
    EXPECT_TRUE(crashed());
}

TEST_F(Traps, EventsAndNmis) {
    v.pv.event_entry = handler;
    deliver_event(v, r);
    EXPECT_EQ(r.rip, handler);
    EXPECT_EQ(v.info->evtchn_upcall_mask, 1);
    const u64 sp = r.rsp;
    v.nmi_pending.store(true);
    deliver_nmi(v, r);
    EXPECT_EQ(r.rsp, sp) << "no callback: nothing happens";
    EXPECT_FALSE(v.nmi_pending.load());
    v.pv.nmi_entry = handler + 8;
    deliver_nmi(v, r);
    EXPECT_EQ(r.rip, handler + 8);
}

} // namespace
} // namespace domus::test
