// GDT, LDT, descriptors, segment bases: tables are typed pages, only code and data of ring 3 gets in, and nothing is
// taken from an address or a frame that is not the guest's. ISOLATION: segments, bases, descriptors class.
#include "cpu.hpp"

#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/pv/descriptors.hpp"
#include "hypervisor/pv/hypercalls_pv.hpp"
#include "hypervisor/pv/page_types.hpp"
#include "hypervisor/pv/root.hpp"

namespace domus::test {
namespace {

constexpr u64 present = u64{1} << 47, code_or_data = u64{1} << 44, ring3 = u64{3} << 45, accessed = u64{1} << 40;
constexpr u64 flat_data = 0x00cf'f300'0000'ffff;
constexpr u64 call_gate = present | ring3 | u64{0xc} << 40, task_state = present | u64{9} << 40,
              local_table = present | u64{2} << 40, interrupt_gate = present | ring3 | u64{0xe} << 40;

class Descriptors : public CpuTest {
protected:
    Mfn table_of(std::vector<u64> entries) {
        const Mfn frame = g.frame();
        arch::zero_frame(frame);
        for (u32 i = 0; i < entries.size(); ++i)
            Guest::at(frame, i) = entries[i];
        return frame;
    }
    Result<void> gdt(std::vector<u64> frames, u32 entries) {
        for (u32 i = 0; i < frames.size(); ++i)
            put_word(data_at + i * 8, frames[i]);
        Call c = call();
        return set_gdt(c, GuestPtr<xen_ulong_t>{data_at}, entries);
    }
    Result<void> update(u64 address, u64 descriptor) {
        Call c = call();
        return update_descriptor(c, address, descriptor);
    }
    TypeWord word_of(Mfn frame) { return TypeWord{frame_info(frame).type.load()}; }
};

TEST(Descriptor, OnlyCodeAndDataOfRing3AreStored) {
    EXPECT_EQ(stored_descriptor(0).value(), 0u);
    EXPECT_EQ(stored_descriptor(flat_data).value(), flat_data);
    EXPECT_EQ(stored_descriptor(0x00af'9b00'0000'ffff).value(), 0x00af'fb00'0000'ffffu) << "ring 0 code becomes ring 3";
    EXPECT_EQ(stored_descriptor(present | code_or_data).value(), present | code_or_data | ring3 | accessed);
    for (u64 hostile : {call_gate, task_state, local_table, interrupt_gate, present})
        EXPECT_EQ(stored_descriptor(hostile).error(), Err::Inval) << std::hex << hostile;
    EXPECT_TRUE(stored_descriptor(call_gate & ~present)) << "absent: the CPU refuses it, whatever it says";
}

TEST_F(Descriptors, GdtIsTakenAndGivenBack) {
    const Mfn one = table_of({0, flat_data}), two = table_of({flat_data & ~ring3});
    ASSERT_TRUE(gdt({one.n, two.n}, 513));
    EXPECT_EQ(cpu.gdt.at(0), one);
    EXPECT_EQ(cpu.gdt.at(1), two);
    EXPECT_EQ(cpu.table_loads, 1);
    EXPECT_EQ(Guest::at(two, 0), flat_data) << "stored as ring 3";
    EXPECT_EQ(word_of(one).type(), FrameType::Segments);
    EXPECT_FALSE(update_one(t.l1, 30, entry::make(one, rw))) << "never writable while it is in force";
    EXPECT_TRUE(update_one(t.l1, 30, entry::make(one, ro)));
    ASSERT_TRUE(gdt({}, 0));
    EXPECT_TRUE(cpu.gdt.empty());
    EXPECT_TRUE(update_one(t.l1, 30, entry::make(one, rw)));
}

TEST_F(Descriptors, GdtAllOrNothing) {
    const Mfn good = table_of({flat_data}), other = table_of({flat_data}), writable = g.frame();
    ASSERT_TRUE(update_one(t.l1, 30, entry::make(writable, rw)));
    Guest stranger = make_guest(8);
    ASSERT_TRUE(gdt({good.n}, 512));
    for (u64 bad : {table_of({call_gate}).n, table_of({flat_data, task_state}).n, writable.n, t.l4.n, t.l1.n,
                    stranger.frame().n, u64{5}, u64{fake::ram_frames}, ~u64{0}, u64{1} << 52, u64{0}}) {
        EXPECT_FALSE(gdt({other.n, bad}, 1024)) << std::hex << bad;
        EXPECT_EQ(word_of(other).count(), 0u) << "its reference came back";
        EXPECT_EQ(cpu.gdt.at(0), good) << "the old table stands";
        EXPECT_EQ(v.pv.gdt_entries, 512u);
    }
    destroy(stranger);
    as(g);
}

TEST_F(Descriptors, GdtArgumentsAreJudged) {
    const Mfn frame = table_of({flat_data});
    EXPECT_EQ(gdt({frame.n}, 14 * 512 + 1).error(), Err::Inval) << "the rest is the hypervisor's";
    EXPECT_EQ(gdt({frame.n}, ~0u).error(), Err::Inval);
    Call c = call();
    for (u64 list : {in_hypervisor, not_canonical, u64{0x3000}, ~u64{0} - 4})
        EXPECT_EQ(set_gdt(c, GuestPtr<xen_ulong_t>{list}, 512).error(), Err::Fault);
    EXPECT_TRUE(cpu.gdt.empty());
}

TEST_F(Descriptors, TheSameFrameTwiceIsCountedTwice) {
    const Mfn frame = table_of({flat_data});
    ASSERT_TRUE(gdt({frame.n, frame.n}, 1024));
    EXPECT_EQ(word_of(frame).count(), 2u);
    ASSERT_TRUE(gdt({frame.n}, 512));
    EXPECT_EQ(word_of(frame).count(), 1u);
}

TEST_F(Descriptors, LdtComesFromMappedMemory) {
    const Mfn frame = table_of({flat_data});
    ASSERT_TRUE(update_one(t.l1, 31, entry::make(frame, ro)));
    const u64 base = 31 * page_size;
    EXPECT_TRUE(pv_set_ldt(v, base, 512));
    EXPECT_EQ(cpu.ldt.at(0), frame);
    EXPECT_EQ(pv_set_ldt(v, base + 8, 1).error(), Err::Inval) << "not at a page's start";
    EXPECT_EQ(pv_set_ldt(v, base, 8193).error(), Err::Inval);
    EXPECT_EQ(pv_set_ldt(v, base, ~0u).error(), Err::Inval);
    EXPECT_EQ(pv_set_ldt(v, base, 513).error(), Err::Fault) << "its second page is not mapped";
    for (u64 hostile :
         {in_hypervisor, not_canonical, 0xffff800000000000 - page_size, u64{1} << 62, (u64{1} << 47) - page_size})
        EXPECT_FALSE(pv_set_ldt(v, hostile, 1024)) << std::hex << hostile;
    EXPECT_EQ(pv_set_ldt(v, ~page_mask, 513).error(), Err::Inval) << "wraps around";
    EXPECT_EQ(cpu.ldt.at(0), frame) << "the old table stands";
    ASSERT_TRUE(update_one(t.l1, 32, entry::make(t.l2, ro)));
    EXPECT_FALSE(pv_set_ldt(v, 32 * page_size, 512)) << "a page table is no descriptor table";
    EXPECT_TRUE(pv_set_ldt(v, 0, 0));
    EXPECT_TRUE(cpu.ldt.empty());
}

TEST_F(Descriptors, UpdatesAreJudgedInForceAndBefore) {
    const Mfn table = table_of({flat_data}), plain = g.frame();
    arch::zero_frame(plain);
    ASSERT_TRUE(gdt({table.n}, 512));
    ASSERT_TRUE(update_one(t.l1, 30, entry::make(plain, rw)));
    for (Mfn frame : {table, plain}) {
        const u64 at = base_of(frame).n + 5 * 8;
        EXPECT_TRUE(update(at, flat_data & ~ring3));
        EXPECT_EQ(Guest::at(frame, 5), flat_data);
        for (u64 hostile : {call_gate, task_state, local_table, interrupt_gate})
            EXPECT_EQ(update(at, hostile).error(), Err::Inval);
        EXPECT_EQ(Guest::at(frame, 5), flat_data);
        for (u64 odd : {1, 2, 4, 7})
            EXPECT_EQ(update(at + odd, flat_data).error(), Err::Inval);
    }
}

TEST_F(Descriptors, UpdatesReachNothingElse) {
    Guest stranger = make_guest(8);
    const u64 before = Guest::at(t.l1, 5);
    for (u64 address : {base_of(t.l1).n + 40, base_of(t.l4).n + 40, base_of(stranger.frame()).n, u64{0x5000},
                        u64{fake::ram_frames} << 12, ~u64{7}, u64{1} << 52})
        EXPECT_FALSE(update(address, flat_data)) << std::hex << address;
    EXPECT_EQ(Guest::at(t.l1, 5), before);
    destroy(stranger);
    as(g);
    expect_sound({t.l4, user_l4});
}

TEST_F(Descriptors, SegmentBasesAreCanonical) {
    Call c = call();
    for (u32 which : {SEGBASE_FS, SEGBASE_GS_USER, SEGBASE_GS_KERNEL}) {
        for (u64 base : {not_canonical, u64{1} << 62, 0xffff7fffffffffff})
            EXPECT_EQ(set_segment_base(c, which, base).error(), Err::Inval);
        for (u64 base : {u64{0}, not_canonical - 1, 0xffff800000000000, ~u64{0}})
            EXPECT_TRUE(set_segment_base(c, which, base));
    }
    EXPECT_TRUE(set_segment_base(c, SEGBASE_FS, 1));
    EXPECT_TRUE(set_segment_base(c, SEGBASE_GS_USER, 2));
    EXPECT_TRUE(set_segment_base(c, SEGBASE_GS_KERNEL, 3));
    EXPECT_EQ(cpu.fs_base, 1u);
    EXPECT_EQ(cpu.other_gs_base, 2u);
    EXPECT_EQ(cpu.gs_base, 3u);
    EXPECT_TRUE(set_segment_base(c, SEGBASE_GS_USER_SEL, 0x10123)) << "16 bits count";
    EXPECT_EQ(cpu.user_gs_selector, 0x123);
    for (u32 which : {4u, 5u, ~0u})
        EXPECT_EQ(set_segment_base(c, which, 0).error(), Err::Inval);
}

} // namespace
} // namespace domus::test
