// Unhooked tables on the fake machine: when a table goes out of force, what stands in the tables meanwhile, and what
// brings it back. That none of it is unsafe is the guard's to find out (tests/guard).
#include "guest.hpp"

#include "hypervisor/core/perf.hpp"
#include "hypervisor/pv/stray_writes.hpp"
#include "hypervisor/pv/unhooked.hpp"

namespace domus::test {
namespace {

constexpr u32 write_fault = 7, after = 3;

class Unhooked : public MemoryTest {
protected:
    static constexpr u64 alias_at = 5 * page_size; // where the guest maps the table, read-only
    static constexpr u64 range = u64{1} << 21;     // what the table maps begins here
    Unhooked() {
        set_unhook_after(after);
        g = make_guest();
        as(g);
        g.domain->dirty_cpus.store((arch::CpuMask{1} << fake::cpus) - 1); // the audit knows flushes of all CPUs only
        t = build(g);
        table = g.frame(), data = g.frame();
        arch::zero_frame(table);
        for (u32 i = 0; i < 64; ++i)
            Guest::at(table, i) = entry::make(data, rw);
        Guest::at(t.l2, 1) = entry::make(table, rw);
        Guest::at(t.l1, 5) = entry::make(table, ro);
        EXPECT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
        EXPECT_TRUE(ext(MMUEXT_PIN_L1_TABLE, table));
        EXPECT_TRUE(ext(MMUEXT_NEW_BASEPTR, t.l4));
    }
    ~Unhooked() override {
        if (g.domain)
            destroy(g);
        set_unhook_after(unhook_after_default);
    }
    // lock andb $~2,(%rdi): takes writing away from an entry, as fork does; by the guest itself, if it may.
    void protect(u32 index) {
        constexpr u8 code[] = {0xf0, 0x80, 0x27, 0xfd};
        std::memcpy(m.window(fake::window_base, sizeof code), code, sizeof code);
        regs.rip = fake::window_base;
        while (!entry::is_writable(Guest::at(t.l1, 5)) && regs.rip == fake::window_base)
            ASSERT_TRUE(fix_page_fault(g.vcpu(), regs, alias_at + index * 8, write_fault));
        if (regs.rip == fake::window_base)
            Guest::at(table, index) &= ~entry::writable;
    }
    void go_out() {
        for (u32 i = 0; i <= after; ++i)
            protect(i);
        ASSERT_TRUE(is_out());
    }
    bool is_out() const { return g.domain->has_unhooked.load(); }
    bool guest_reaches_it() const { return (Guest::at(t.l2, 1) & entry::user) != 0; }
    u64 counted(Count which) const { return g.domain->perf.counts[static_cast<usize>(which)]; }

    Guest g;
    Tables t;
    Mfn table, data;
    GuestRegs regs{};
};

TEST_F(Unhooked, AfterSomeStoresInARowTheGuestWritesItself) {
    for (u32 i = 0; i < 64; ++i)
        protect(i);
    EXPECT_EQ(counted(Count::PteEmulated), after);
    EXPECT_EQ(counted(Count::TablesUnhooked), 1u);
    EXPECT_FALSE(guest_reaches_it());
    EXPECT_TRUE(entry::is_present(Guest::at(t.l2, 1))) << "a kernel that reads its own tables must not notice";
    EXPECT_TRUE(ext(MMUEXT_TLB_FLUSH_LOCAL, Mfn{0}));
    EXPECT_TRUE(is_out()) << "handlers alone do not look: dispatch does";
    bring_back(*g.domain);
    EXPECT_TRUE(guest_reaches_it());
    EXPECT_FALSE(entry::is_writable(Guest::at(t.l1, 5)));
    for (u32 i = 0; i < 64; ++i)
        EXPECT_EQ(Guest::at(table, i), entry::make(data, rw) & ~entry::writable);
    EXPECT_FALSE(update_one(t.l1, 9, entry::make(table, rw))) << "a table in force again";
    expect_sound({t.l4});
}

TEST_F(Unhooked, ComesBackAtAFaultInItsRangeAndNoOther) {
    go_out();
    EXPECT_FALSE(fix_page_fault(g.vcpu(), regs, range - 8, 4)) << "the guest's own fault, elsewhere";
    EXPECT_TRUE(is_out());
    EXPECT_TRUE(fix_page_fault(g.vcpu(), regs, range + 8, 5));
    EXPECT_FALSE(is_out());
    go_out();
    g.vcpu().pv.in_kernel = false;
    g.vcpu().pv.user_root = g.vcpu().pv.kernel_root;
    EXPECT_TRUE(fix_page_fault(g.vcpu(), regs, range + page_size, 7)) << "of user mode, too";
    g.vcpu().pv.user_root = 0;
    g.vcpu().pv.in_kernel = true;
    EXPECT_FALSE(is_out());
    expect_sound({t.l4});
}

TEST_F(Unhooked, ComesBackForTheHypervisorsOwnCopies) {
    go_out();
    u64 value = 0;
    EXPECT_TRUE(copy_in_bytes(&value, fake::window_base, sizeof value));
    EXPECT_TRUE(is_out()) << "that copy goes another way";
    static_cast<void>(copy_in_bytes(&value, range - 4, sizeof value));
    EXPECT_FALSE(is_out()) << "its last byte lies there";
    go_out();
    EXPECT_TRUE(copy_out_bytes(range + 40 * page_size, &value, sizeof value));
    EXPECT_FALSE(is_out());
    expect_sound({t.l4});
}

TEST_F(Unhooked, UpdatesOfOtherTablesLeaveItOut) {
    const Mfn plain = g.frame();
    go_out();
    EXPECT_TRUE(update_one(plain, 0, 1)); // what a fork does all the time
    EXPECT_TRUE(update_one(t.l1, 10, entry::make(data, ro)));
    EXPECT_TRUE(is_out());
    EXPECT_FALSE(update_one(t.l1, 10, entry::make(table, rw))) << "it may be mapped writable by its alias only";
    EXPECT_TRUE(update_one(table, 63, 0));
    EXPECT_FALSE(is_out());
    EXPECT_EQ(Guest::at(table, 63), 0u);
    go_out();
    EXPECT_TRUE(update_one(t.l2, 1, 0)) << "its hook";
    EXPECT_FALSE(is_out());
    EXPECT_EQ(Guest::at(t.l2, 1), 0u);
    expect_sound({t.l4});
}

TEST_F(Unhooked, WhatIsRefusedBecomesEmpty) {
    go_out();
    Guest::at(table, 20) = entry::make(t.l4, rw);
    Guest::at(table, 21) = entry::make(Mfn(fake::first_free_frame - 1), ro);
    Guest::at(table, 22) = entry::make(data, rw) & ~entry::user;
    Guest::at(table, 23) = u64{0xabc} << 8; // absent: the guest's own business
    bring_back(*g.domain);
    EXPECT_EQ(Guest::at(table, 20), 0u);
    EXPECT_EQ(Guest::at(table, 21), 0u);
    EXPECT_EQ(Guest::at(table, 22), entry::make(data, rw)) << "as stored by mmu_update";
    EXPECT_EQ(Guest::at(table, 23), u64{0xabc} << 8);
    expect_sound({t.l4});
}

TEST_F(Unhooked, NotATableThatSomethingElseUses) {
    EXPECT_TRUE(update_one(t.l2, 2, entry::make(table, rw))); // a second hook
    for (u32 i = 0; i < 40; ++i)
        protect(i);
    EXPECT_EQ(counted(Count::PteEmulated), 40u);
    EXPECT_FALSE(is_out());
    expect_sound({t.l4});
}

TEST_F(Unhooked, NeverIfSwitchedOff) {
    set_unhook_after(0);
    for (u32 i = 0; i < 64; ++i)
        protect(i);
    EXPECT_EQ(counted(Count::PteEmulated), 64u);
    expect_sound({t.l4});
}

TEST_F(Unhooked, ADyingDomainGivesEverythingBack) {
    go_out();
    Guest::at(table, 30) = entry::make(t.l3, rw);
    destroy(g); // the fixture counts the free frames
}

} // namespace
} // namespace domus::test
