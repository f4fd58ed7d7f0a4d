// Page types: what may become a table, what may be mapped, and that types and counts follow the tables.
#include "guest.hpp"

#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/pv/page_types.hpp"
#include "hypervisor/pv/root.hpp"

namespace domus::test {
namespace {

TypeWord word_of(Mfn mfn) {
    return TypeWord{frame_info(mfn).type.load()};
}

TEST_F(MemoryTest, PinsATreeAndTakesItDownAgain) {
    Guest g = make_guest();
    as(g);
    const auto t = build(g);
    const Mfn data = g.frame();
    Guest::at(t.l1, 5) = entry::make(data, rw);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    EXPECT_EQ(word_of(t.l1).type(), FrameType::L1);
    EXPECT_EQ(word_of(data).type(), FrameType::Writable);
    expect_sound();
    ASSERT_TRUE(ext(MMUEXT_UNPIN_TABLE, t.l4));
    EXPECT_EQ(word_of(data).count(), 0u);
    expect_sound();
    EXPECT_EQ(ext(MMUEXT_UNPIN_TABLE, t.l4).error(), Err::Inval);
    destroy(g);
}

TEST_F(MemoryTest, ValidationStopsAndGoesOn) {
    Guest g = make_guest();
    as(g);
    const auto t = build(g);
    for (u32 i = 1; i < 100; ++i) {
        const Mfn l1 = g.frame();
        arch::zero_frame(l1);
        Guest::at(l1, i) = entry::make(t.l4, ro);
        Guest::at(t.l2, i) = entry::make(l1, rw);
    }
    m.yield_every = 1;
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    EXPECT_GT(restarts, 90u);
    expect_sound();
    ASSERT_TRUE(ext(MMUEXT_UNPIN_TABLE, t.l4));
    EXPECT_GT(restarts, 90u);
    expect_sound();
    destroy(g);
}

TEST_F(MemoryTest, FailedValidationGivesBackWhatItTook) {
    Guest g = make_guest();
    as(g);
    const auto t = build(g);
    for (u32 i = 1; i < 20; ++i) {
        const Mfn l1 = g.frame();
        arch::zero_frame(l1);
        Guest::at(t.l2, i) = entry::make(l1, rw);
    }
    Guest::at(t.l2, 300) = entry::make(Mfn(5000), rw); // not its own
    for (u32 every : {0u, 1u, 3u}) {
        m.yield_every = every;
        EXPECT_EQ(ext(MMUEXT_PIN_L4_TABLE, t.l4).error(), Err::Inval);
        expect_sound();
        EXPECT_EQ(word_of(t.l1).count(), 0u);
    }
    destroy(g);
}

TEST_F(MemoryTest, APageTableIsNeverMappedWritable) {
    Guest g = make_guest();
    as(g);
    const auto t = build(g);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    for (Mfn table : {t.l4, t.l3, t.l2, t.l1}) {
        EXPECT_EQ(update_one(t.l1, 7, entry::make(table, rw)).error(), Err::Inval);
        EXPECT_TRUE(update_one(t.l1, 7, entry::make(table, ro)));
        EXPECT_EQ(update_one(t.l1, 7, entry::make(table, rw)).error(), Err::Inval) << "by way of the fast path";
    }
    expect_sound();
    destroy(g);
}

TEST_F(MemoryTest, AWritablePageBecomesATableOnlyAfterItsLastWritableMapping) {
    Guest g = make_guest();
    as(g);
    const auto t = build(g);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    const Mfn page = g.frame();
    arch::zero_frame(page);
    ASSERT_TRUE(update_one(t.l1, 1, entry::make(page, rw)));
    ASSERT_TRUE(update_one(t.l1, 2, entry::make(page, rw)));
    EXPECT_FALSE(update_one(t.l2, 9, entry::make(page, rw)));
    ASSERT_TRUE(update_one(t.l1, 1, 0));
    EXPECT_FALSE(update_one(t.l2, 9, entry::make(page, rw)));
    ASSERT_TRUE(update_one(t.l1, 2, entry::make(page, ro)));
    EXPECT_TRUE(update_one(t.l2, 9, entry::make(page, rw)));
    expect_sound(); // among others: no stale writable translation is left
    destroy(g);
}

TEST_F(MemoryTest, LinearAndSkewedTablesAreRefused) {
    Guest g = make_guest();
    as(g);
    const auto t = build(g);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    EXPECT_EQ(update_one(t.l4, 1, entry::make(t.l4, ro)).error(), Err::Inval);
    EXPECT_EQ(update_one(t.l4, 1, entry::make(t.l2, rw)).error(), Err::Inval);
    EXPECT_EQ(update_one(t.l3, 1, entry::make(t.l3, ro)).error(), Err::Inval);
    EXPECT_EQ(update_one(t.l2, 1, entry::make(t.l4, ro)).error(), Err::Inval);
    const Mfn self = g.frame();
    arch::zero_frame(self);
    Guest::at(self, 3) = entry::make(self, ro);
    for (u32 command : {MMUEXT_PIN_L4_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L2_TABLE})
        EXPECT_EQ(ext(command, self).error(), Err::Inval);
    expect_sound();
    destroy(g);
}

TEST_F(MemoryTest, HypervisorSlotsAreNeverTheGuests) {
    Guest g = make_guest();
    as(g);
    const auto t = build(g);
    for (u32 slot = 256; slot < 272; ++slot)
        Guest::at(t.l4, slot) = entry::make(t.l3, rw);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    expect_sound(); // the slots hold the hypervisor's own, and the L3 is counted once
    for (u32 slot : {256u, 260u, 271u}) {
        EXPECT_EQ(update_one(t.l4, slot, entry::make(t.l3, rw)).error(), Err::Inval);
        EXPECT_EQ(update_one(t.l4, slot, 0).error(), Err::Inval);
    }
    EXPECT_TRUE(update_one(t.l4, 272, entry::make(t.l3, rw)));
    expect_sound();
    destroy(g);
}

TEST_F(MemoryTest, SuperpagesAndForeignFramesAreRefused) {
    Guest g = make_guest();
    Guest other = make_guest();
    as(g);
    const auto t = build(g);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    const Mfn mine = g.frame();
    EXPECT_EQ(update_one(t.l2, 1, entry::make(mine, rw | entry::large)).error(), Err::Inval);
    EXPECT_EQ(update_one(t.l2, 0, entry::make(t.l1, rw | entry::large)).error(), Err::Inval)
        << "the fast path looks at PS";
    EXPECT_EQ(update_one(t.l3, 1, entry::make(mine, rw | entry::large)).error(), Err::Inval);
    EXPECT_EQ(update_one(t.l1, 1, entry::make(other.frame(), ro)).error(), Err::Inval);
    EXPECT_EQ(update_one(t.l1, 1, entry::make(Mfn(3), ro)).error(), Err::Inval) << "a device frame";
    EXPECT_EQ(update_one(t.l1, 1, entry::make(Mfn(fake::ram_frames + 5), ro)).error(), Err::Inval);
    EXPECT_EQ(update_one(t.l1, 1, entry::make(Mfn(~u64{0} >> 24), ro)).error(), Err::Inval);
    EXPECT_EQ(update_one(t.l1, 1, entry::make(mine, rw | entry::cache_disable)).error(), Err::Inval);
    EXPECT_EQ(ext(MMUEXT_PIN_L1_TABLE, other.frame()).error(), Err::Perm);
    expect_sound();
    destroy(g);
    destroy(other);
}

TEST_F(MemoryTest, RootsHoldTheirTables) {
    Guest g = make_guest();
    as(g);
    const auto a = build(g), b = build(g);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, a.l4));
    ASSERT_TRUE(ext(MMUEXT_NEW_BASEPTR, a.l4));
    EXPECT_EQ(m.loaded_root(), base_of(a.l4).n);
    ASSERT_TRUE(ext(MMUEXT_NEW_USER_BASEPTR, b.l4));
    EXPECT_EQ(m.loaded_root(), base_of(a.l4).n) << "a user root is not loaded in kernel mode";
    ASSERT_TRUE(ext(MMUEXT_UNPIN_TABLE, a.l4));
    EXPECT_EQ(word_of(a.l4).count(), 1u) << "still the root in force";
    expect_sound({a.l4, b.l4});
    EXPECT_EQ(ext(MMUEXT_NEW_BASEPTR, a.l3).error(), Err::Inval);
    ASSERT_TRUE(ext(MMUEXT_NEW_BASEPTR, b.l4));
    EXPECT_EQ(word_of(a.l4).count(), 0u);
    ASSERT_TRUE(ext(MMUEXT_NEW_USER_BASEPTR, Mfn(0)));
    expect_sound({b.l4});
    destroy(g);
}

} // namespace
} // namespace domus::test
