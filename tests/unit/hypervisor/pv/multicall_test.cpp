// Several hypercalls in one crossing: each is judged as if it were called alone, and what changes the ground that the
// list stands on is refused. ISOLATION: multicall class.
#include "cpu.hpp"

#include "hypervisor/pv/hypercalls_pv.hpp"

namespace domus::test {
namespace {

class Multicall : public CpuTest {
protected:
    static constexpr u64 list_at = data_at;
    void entry(u32 index, u64 op, std::vector<u64> args = {}) {
        multicall_entry_t e{};
        e.op = op;
        e.result = 0x5555;
        for (usize i = 0; i < args.size(); ++i)
            e.args[i] = args[i];
        m.put(e, list_at + index * sizeof e);
    }
    i64 result(u32 index) {
        return static_cast<i64>(m.get<multicall_entry_t>(list_at + index * sizeof(multicall_entry_t)).result);
    }
    // As the guest's SYSCALL does it, until it is done.
    Result<i64> call_list(u32 count, u64 at = list_at) {
        u64 list = at;
        return run([&](Call& call) {
            call.args = {list, count, 0, 0, 0, 0};
            auto r = multicall(call, {list}, count);
            list = call.args[0];
            count = static_cast<u32>(call.args[1]);
            return r;
        });
    }
};

TEST_F(Multicall, EachHasItsResult) {
    entry(0, __HYPERVISOR_xen_version, {XENVER_pagesize});
    entry(1, 63);
    entry(2, __HYPERVISOR_set_segment_base, {SEGBASE_FS, 0x1000});
    entry(3, __HYPERVISOR_set_segment_base, {SEGBASE_FS, not_canonical});
    EXPECT_EQ(call_list(4).value(), 0);
    EXPECT_EQ(result(0), 4096);
    EXPECT_EQ(result(1), -XEN_ENOSYS);
    EXPECT_EQ(result(2), 0);
    EXPECT_EQ(result(3), -XEN_EINVAL);
    EXPECT_EQ(cpu.fs_base, 0x1000u);
}

// Numbers are 64 bits wide here and 32 in a register: bits above must not be a way around.
TEST_F(Multicall, RefusesIretAndItself) {
    iret_context frame{};
    frame.rip = 0x1234;
    frame.cs = FLAT_USER_CS | 3;
    m.put(frame, stack_at - 0x100);
    for (u64 above : {u64{0}, u64{1} << 32, u64{1} << 63}) {
        entry(0, __HYPERVISOR_iret | above);
        entry(1, __HYPERVISOR_multicall | above, {list_at, 2}); // would go on for ever
        EXPECT_EQ(call_list(2).value(), 0);
        EXPECT_EQ(result(0), -XEN_ENOSYS);
        EXPECT_EQ(result(1), -XEN_ENOSYS);
        EXPECT_TRUE(v.pv.in_kernel);
        EXPECT_EQ(r.rip, code_at);
    }
}

TEST_F(Multicall, NumbersOfNothing) {
    for (u64 op : {u64{hypercall_numbers} - 1, u64{hypercall_numbers}, u64{hypercall_numbers} + 1, u64{0xffffffff},
                   ~u64{0}, u64{__HYPERVISOR_xen_version} | u64{1} << 32}) {
        entry(0, op, {XENVER_pagesize});
        EXPECT_EQ(call_list(1).value(), 0);
        EXPECT_EQ(result(0), -XEN_ENOSYS) << std::hex << op;
    }
}

TEST_F(Multicall, CountsEachCall) {
    const u64 before = g.domain->perf.hypercalls[__HYPERVISOR_xen_version];
    for (u32 i = 0; i < 20; ++i) // more than are copied at once
        entry(i, __HYPERVISOR_xen_version, {XENVER_pagesize});
    EXPECT_EQ(call_list(20).value(), 0);
    EXPECT_EQ(g.domain->perf.hypercalls[__HYPERVISOR_xen_version], before + 20);
    EXPECT_EQ(result(19), 4096);
}

TEST_F(Multicall, GivesNoRights) {
    for (u64 op : {__HYPERVISOR_domctl, __HYPERVISOR_sysctl, __HYPERVISOR_platform_op}) {
        entry(0, op, {data_at + 0x1000});
        EXPECT_EQ(call_list(1).value(), 0);
        EXPECT_EQ(result(0), -XEN_EPERM);
    }
}

TEST_F(Multicall, GoesOnWhereItStopped) {
    for (u32 i = 0; i < 50; ++i)
        entry(i, __HYPERVISOR_xen_version, {XENVER_pagesize});
    m.yield_every = 1;
    EXPECT_EQ(call_list(50).value(), 0);
    EXPECT_EQ(restarts, 49u);
    for (u32 i = 0; i < 50; ++i)
        EXPECT_EQ(result(i), 4096);
}

TEST_F(Multicall, KeepsTheArgumentsOfOneThatStops) {
    const Tables other = build(g);
    for (u32 i = 1; i < 8; ++i) {
        const Mfn l1 = g.frame();
        arch::zero_frame(l1);
        Guest::at(other.l2, i) = entry::make(l1, rw);
    }
    mmuext_op_t op{};
    op.cmd = MMUEXT_PIN_L4_TABLE;
    op.arg1.mfn = other.l4.n;
    m.put(op, data_at + 0x1000);
    entry(0, __HYPERVISOR_mmuext_op, {data_at + 0x1000, 1, 0, DOMID_SELF});
    entry(1, __HYPERVISOR_xen_version, {XENVER_pagesize});
    m.yield_every = 1;
    EXPECT_EQ(call_list(2).value(), 0);
    m.yield_every = 0;
    EXPECT_GT(restarts, 5u);
    EXPECT_EQ(result(0), 0);
    EXPECT_EQ(result(1), 4096);
    EXPECT_TRUE(ext(MMUEXT_UNPIN_TABLE, other.l4));
}

TEST_F(Multicall, ListsThatCannotBeRead) {
    for (u64 at : {in_hypervisor, not_canonical - 8, u64{0x3000}, ~u64{0} - 8, 0xffff800000000000 - 32})
        EXPECT_EQ(call_list(1, at).error(), Err::Fault) << std::hex << at;
    entry(0, __HYPERVISOR_xen_version, {XENVER_pagesize});
    const u64 last = fake::window_base + fake::window_size - sizeof(multicall_entry_t);
    m.put(m.get<multicall_entry_t>(list_at), last);
    EXPECT_EQ(call_list(~0u, last).error(), Err::Fault) << "the second one is not there";
    EXPECT_EQ(m.get<multicall_entry_t>(last).result, 4096u) << "the first one was done";
    EXPECT_EQ(call_list(0, in_hypervisor).value(), 0);
}

TEST_F(Multicall, EndsForAVcpuThatStopped) {
    entry(0, __HYPERVISOR_sched_op, {SCHEDOP_shutdown, data_at + 0x1000});
    m.put(sched_shutdown_t{SHUTDOWN_poweroff}, data_at + 0x1000);
    entry(1, __HYPERVISOR_set_segment_base, {SEGBASE_FS, 0x1000});
    Call c = call();
    c.args = {list_at, 2, 0, 0, 0, 0};
    EXPECT_EQ(multicall(c, {list_at}, 2).error(), Err::Restart);
    EXPECT_EQ(c.args[0], list_at + sizeof(multicall_entry_t)) << "goes on if it ever runs again";
    EXPECT_EQ(c.args[1], 1u);
    EXPECT_EQ(cpu.fs_base, 0u);
}

} // namespace
} // namespace domus::test
