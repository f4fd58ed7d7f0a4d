// mmu_update, mmuext_op and update_va_mapping as interfaces: counts of completed operations, errors, foreign domains,
// the machine-to-phys table, hostile lists. Expectations are those of <xen/xen.h>.
#include "guest.hpp"

#include "hypervisor/pv/page_types.hpp"

namespace domus::test {
namespace {

class Lists : public MemoryTest {
protected:
    Lists() {
        g = make_guest();
        as(g);
        t = build(g);
        data = g.frame();
        EXPECT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
        EXPECT_TRUE(ext(MMUEXT_NEW_BASEPTR, t.l4));
    }
    mmu_update_t entry_write(u32 index, u64 value) { return {base_of(t.l1).n + index * 8, value}; }
    Guest g;
    Tables t;
    Mfn data;
};

TEST_F(Lists, CountWhatWasDoneBeforeTheFirstFailure) {
    EXPECT_EQ(update({entry_write(1, entry::make(data, rw)), entry_write(2, entry::make(data, ro)),
                      entry_write(3, entry::make(t.l1, rw)), entry_write(4, entry::make(data, rw))})
                  .error(),
              Err::Inval);
    EXPECT_EQ(done, 2u);
    EXPECT_EQ(Guest::at(t.l1, 4), 0u);
    expect_sound({t.l4});
    destroy(g);
}

TEST_F(Lists, ARefusalIsCountedOnce) {
    const u64& refused = g.domain->perf.counts[static_cast<usize>(Count::Refused)];
    const u64 before = refused;
    EXPECT_FALSE(update({entry_write(3, entry::make(t.l1, rw))}));
    EXPECT_EQ(refused, before + 1);
    EXPECT_FALSE(ext(MMUEXT_NEW_BASEPTR, t.l1));
    EXPECT_EQ(refused, before + 2);
    destroy(g);
}

TEST_F(Lists, GoOnAfterInterruptionsWithTheRightCount) {
    std::vector<mmu_update_t> list;
    for (u32 i = 0; i < 500; ++i)
        list.push_back(entry_write(i, entry::make(data, i % 2 ? rw : ro)));
    m.yield_every = 1;
    ASSERT_TRUE(update(list));
    EXPECT_GE(restarts, 10u);
    EXPECT_EQ(done, 500u);
    EXPECT_EQ(Guest::at(t.l1, 499), entry::make(data, rw));
    expect_sound({t.l4});
    destroy(g);
}

TEST_F(Lists, EndAtUnreadableMemory) {
    const u64 last = fake::window_base + fake::window_size - 16;
    m.put(entry_write(1, entry::make(data, rw)), last);
    m.put(u32{0});
    Call call{g.vcpu(), *g.domain, {}};
    EXPECT_EQ(mmu_update(call, {last}, 5, {fake::window_base}, DOMID_SELF).error(), Err::Fault);
    EXPECT_EQ(m.get<u32>(), 1u);
    EXPECT_EQ(mmu_update(call, {0xffff800000000000}, 1, {}, DOMID_SELF).error(), Err::Fault);
    EXPECT_EQ(mmu_update(call, {~u64{0} - 8}, 2, {}, DOMID_SELF).error(), Err::Fault);
    EXPECT_EQ(mmuext_op(call, {~u64{0} - 8}, 2, {}, DOMID_SELF).error(), Err::Fault);
    destroy(g);
}

TEST_F(Lists, KeepAccessBitsWhenAsked) {
    ASSERT_TRUE(update_one(t.l1, 1, entry::make(data, rw)));
    ASSERT_TRUE(update_one(t.l1, 1, entry::make(data, entry::present | entry::user), MMU_PT_UPDATE_PRESERVE_AD));
    EXPECT_EQ(Guest::at(t.l1, 1), entry::make(data, ro | entry::dirty));
    ASSERT_TRUE(update_one(t.l1, 1, entry::make(data, entry::present | entry::user)));
    EXPECT_EQ(Guest::at(t.l1, 1), entry::make(data, entry::present | entry::user));
    destroy(g);
}

TEST_F(Lists, PlainPagesAreWrittenAsPlainPages) {
    ASSERT_TRUE(update_one(data, 3, 0x1234567));
    EXPECT_EQ(Guest::at(data, 3), 0x1234567u);
    EXPECT_FALSE(update_one(Mfn(5000), 3, 1)) << "not its own";
    EXPECT_FALSE(update({{base_of(data).n + 4, 1}})) << "not an entry's address";
    expect_sound({t.l4});
    destroy(g);
}

TEST_F(Lists, MachineToPhysOfOwnFramesOnly) {
    ASSERT_TRUE(update({{base_of(data).n + MMU_MACHPHYS_UPDATE, 77}}));
    EXPECT_EQ(m.m2p[data.n], 77u);
    Guest other = make_guest();
    const Mfn foreign = other.frame();
    m.m2p[foreign.n] = 5;
    EXPECT_FALSE(update({{base_of(foreign).n + MMU_MACHPHYS_UPDATE, 77}}));
    EXPECT_EQ(m.m2p[foreign.n], 5u);
    destroy(other);
    destroy(g);
}

TEST_F(Lists, ForeignFramesArePrivilegedBusiness) {
    Guest other = make_guest();
    const Mfn foreign = other.frame();
    const u16 id = other.domain->id.n;
    EXPECT_EQ(update_one(t.l1, 1, entry::make(foreign, ro), 0, id).error(), Err::Perm);
    EXPECT_EQ(update_one(t.l1, 1, 0, 0, DOMID_SELF | (u32{id} + 1) << 16).error(), Err::Perm);
    EXPECT_EQ(ext(MMUEXT_PIN_L1_TABLE, foreign, id).error(), Err::Perm);
    EXPECT_EQ(update_one(t.l1, 1, entry::make(foreign, ro), 0, DOMID_XEN).error(), Err::Perm);
    EXPECT_FALSE(update_one(t.l1, 1, entry::make(Mfn(3), ro), 0, DOMID_IO));

    Guest tools = make_guest(1024, true);
    as(tools);
    const auto tt = build(tools);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, tt.l4));
    EXPECT_EQ(update_one(tt.l1, 1, entry::make(foreign, rw)).error(), Err::Inval) << "not as its own";
    EXPECT_TRUE(update_one(tt.l1, 1, entry::make(foreign, rw), 0, id));
    EXPECT_TRUE(update_one(tt.l1, 2, entry::make(Mfn(3), rw), 0, DOMID_IO));
    EXPECT_FALSE(update_one(tt.l1, 3, entry::make(foreign, rw), 0, DOMID_IO)) << "RAM";
    EXPECT_FALSE(update_one(tt.l1, 3, entry::make(Mfn(3), rw), 0, id)) << "that domain may not reach devices";
    EXPECT_EQ(update_one(tt.l1, 3, entry::make(foreign, ro), 0, 1234).error(), Err::Srch);
    // Entries of the other's own tables.
    as(tools);
    EXPECT_TRUE(update_one(t.l1, 9, entry::make(data, ro), 0, g.domain->id.n | (u32{g.domain->id.n} + 1) << 16));
    EXPECT_EQ(Guest::at(t.l1, 9), entry::make(data, ro));
    // The foreign frame outlives its domain for as long as it is mapped.
    destroy(other);
    expect_sound({t.l4});
    destroy(tools);
    destroy(g);
}

TEST_F(Lists, FixedErrorsOfMmuext) {
    EXPECT_EQ(ext(999, data).error(), Err::NoSys);
    EXPECT_EQ(ext(MMUEXT_MARK_SUPER, data).error(), Err::OpNotSupp);
    EXPECT_EQ(ext(MMUEXT_FLUSH_CACHE, data).error(), Err::Access);
    EXPECT_EQ(m.cache_flushes, 0);
    EXPECT_TRUE(ext(MMUEXT_INVLPG_LOCAL, Mfn(0xffff800000000000))); // an address here: ignored, not the guest's
    EXPECT_EQ(ext(MMUEXT_CLEAR_PAGE, t.l1).error(), Err::Busy) << "a page table";
    EXPECT_EQ(ext(MMUEXT_PIN_L4_TABLE, t.l4).error(), Err::Inval) << "pinned already";
    Guest::at(data, 9) = 1;
    EXPECT_TRUE(ext(MMUEXT_CLEAR_PAGE, data));
    EXPECT_EQ(Guest::at(data, 9), 0u);
    expect_sound({t.l4});
    destroy(g);
}

TEST_F(Lists, UpdateByAddress) {
    Call call{g.vcpu(), *g.domain, {}};
    EXPECT_TRUE(update_va_mapping(call, Vaddr(5 * page_size), entry::make(data, rw), UVMF_INVLPG));
    EXPECT_EQ(Guest::at(t.l1, 5), entry::make(data, rw));
    EXPECT_TRUE(update_va_mapping(call, Vaddr(5 * page_size), 0, UVMF_TLB_FLUSH | UVMF_ALL));
    EXPECT_EQ(update_va_mapping(call, Vaddr(5 * page_size), entry::make(t.l3, rw), 0).error(), Err::Inval);
    EXPECT_EQ(update_va_mapping(call, Vaddr(1 << 30), 0, 0).error(), Err::Inval) << "no L1 there";
    EXPECT_EQ(update_va_mapping(call, Vaddr(0xffff800000000000), 0, 0).error(), Err::Inval);
    EXPECT_EQ(update_va_mapping(call, Vaddr(0x1234567812345678), 0, 0).error(), Err::Inval) << "not canonical";
    EXPECT_EQ(update_va_mapping_otherdomain(call, Vaddr(0), 0, 0, 0).error(), Err::Perm);
    EXPECT_EQ(update_va_mapping(call, Vaddr(0), 0, UVMF_TLB_FLUSH | 0xffff800000000000).error(), Err::Fault);
    EXPECT_EQ(vm_assist(call, VMASST_CMD_enable, VMASST_TYPE_m2p_strict).error(), Err::Inval);
    EXPECT_TRUE(vm_assist(call, VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag));
    expect_sound({t.l4});
    destroy(g);
}

TEST_F(Lists, DescriptorTablesAreJudged) {
    const Mfn table = g.frame();
    arch::zero_frame(table);
    Guest::at(table, 1) = 0x00af9b000000ffff; // 64-bit code of ring 0: becomes ring 3
    ASSERT_TRUE(get_frame_and_type(table, *g.domain, FrameType::Segments));
    EXPECT_EQ(Guest::at(table, 1), 0x00affb000000ffffu);
    EXPECT_FALSE(update_one(t.l1, 1, entry::make(table, rw))) << "a descriptor table in force";
    EXPECT_FALSE(update_one(table, 1, 0)) << "and not by mmu_update either";
    put_frame_and_type(table);
    for (u64 type : {2, 5, 9, 11, 12, 14, 15}) { // LDT, gates, task states
        Guest::at(table, 2) = 0x0000e0000000ffff | type << 40;
        EXPECT_EQ(get_frame_and_type(table, *g.domain, FrameType::Segments).error(), Err::Inval);
    }
    expect_sound({t.l4});
    destroy(g);
}

} // namespace
} // namespace domus::test
