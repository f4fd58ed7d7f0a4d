// Superpages of guests: an L2 entry counts as the 512 mappings that it is, all of them or none. Interface:
// hypervisor/abi/domus.h, DOMUS_FEATURE_superpages.
#include "guest.hpp"

#include "hypervisor/abi/domus.h"
#include "hypervisor/core/extension.hpp"
#include "hypervisor/core/frame_word.hpp"

namespace domus::test {
namespace {

constexpr u64 large_rw = rw | entry::large, large_ro = ro | entry::large;

TypeWord word_of(Mfn mfn) {
    return TypeWord{frame_info(mfn).type.load()};
}

class Superpage : public MemoryTest {
protected:
    Superpage() {
        set_extension_features(~u32{0});
        g = make_guest(4096);
        as(g);
        block = allocate_domain_frames(*g.domain, 9).value();
        t = build(g);
        EXPECT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
        EXPECT_TRUE(ext(MMUEXT_NEW_BASEPTR, t.l4));
    }
    ~Superpage() override {
        set_extension_features(~u32{0});
        expect_sound({t.l4});
        destroy(g);
    }
    Guest g;
    Tables t;
    Mfn block;
};

TEST_F(Superpage, CountsOnEachFrame) {
    ASSERT_TRUE(update_one(t.l2, 7, entry::make(block, large_rw)));
    for (u64 i : {0, 1, 511}) {
        EXPECT_EQ(word_of(Mfn(block.n + i)).type(), FrameType::Writable);
        EXPECT_EQ(word_of(Mfn(block.n + i)).count(), 1u);
    }
    expect_sound({t.l4});
    EXPECT_EQ(ext(MMUEXT_PIN_L1_TABLE, Mfn(block.n + 300)).error(), Err::Inval) << "mapped writable";
    ASSERT_TRUE(update_one(t.l2, 7, 0));
    EXPECT_EQ(word_of(Mfn(block.n + 300)).count(), 0u);
    expect_sound({t.l4});
}

TEST_F(Superpage, LosesAndGainsWriting) {
    ASSERT_TRUE(update_one(t.l2, 7, entry::make(block, large_rw)));
    ASSERT_TRUE(update_one(t.l2, 7, entry::make(block, large_ro)));
    EXPECT_EQ(word_of(Mfn(block.n + 511)).count(), 0u);
    ASSERT_TRUE(update_one(t.l2, 7, entry::make(block, large_ro | entry::no_execute | entry::dirty)));
    expect_sound({t.l4});
    ASSERT_TRUE(update_one(t.l2, 8, entry::make(block, large_rw))) << "a second mapping of the same";
    ASSERT_TRUE(update_one(t.l2, 7, entry::make(block, large_rw)));
    EXPECT_EQ(word_of(Mfn(block.n + 511)).count(), 2u);
}

TEST_F(Superpage, WithATableInsideIsReadOnly) {
    const Mfn inside(block.n + 200);
    arch::zero_frame(inside);
    ASSERT_TRUE(ext(MMUEXT_PIN_L1_TABLE, inside));
    EXPECT_EQ(update_one(t.l2, 7, entry::make(block, large_rw)).error(), Err::Inval);
    EXPECT_EQ(word_of(block).count(), 0u) << "what was taken before came back";
    ASSERT_TRUE(update_one(t.l2, 7, entry::make(block, large_ro)));
    EXPECT_EQ(update_one(t.l2, 7, entry::make(block, large_rw)).error(), Err::Inval);
    EXPECT_EQ(Guest::at(t.l2, 7), entry::make(block, large_ro));
    ASSERT_TRUE(ext(MMUEXT_UNPIN_TABLE, inside));
}

TEST_F(Superpage, IsNotTakenForTheTableThatItBeginsWith) {
    arch::zero_frame(block);
    ASSERT_TRUE(update_one(t.l2, 7, entry::make(block, large_ro)));
    ASSERT_TRUE(update_one(t.l2, 7, entry::make(block, rw))) << "now as an L1";
    EXPECT_EQ(word_of(block).type(), FrameType::L1);
    expect_sound({t.l4});
    ASSERT_TRUE(update_one(t.l2, 7, entry::make(block, large_ro)));
    EXPECT_EQ(word_of(block).count(), 0u);
}

TEST_F(Superpage, Refusals) {
    Guest other = make_guest(4096);
    const Mfn foreign = allocate_domain_frames(*other.domain, 9).value();
    for (u64 value : {entry::make(Mfn(block.n + 1), large_rw), entry::make(Mfn(block.n + 256), large_ro),
                      entry::make(block, large_rw | entry::cache_disable), entry::make(foreign, large_ro),
                      entry::make(block, large_ro | entry::write_through), entry::make(Mfn(0), large_ro),
                      entry::make(Mfn(fake::ram_frames), large_ro)})
        EXPECT_EQ(update_one(t.l2, 7, value).error(), Err::Inval) << std::hex << value;
    EXPECT_EQ(update_one(t.l3, 7, entry::make(block, large_ro)).error(), Err::Inval) << "1 GiB";
    EXPECT_EQ(update_one(t.l4, 7, entry::make(block, large_ro)).error(), Err::Inval);
    ASSERT_TRUE(update_one(t.l2, 7, entry::make(block, large_ro)));
    EXPECT_EQ(run([&](Call& call) -> Result<i64> {
                  TRY(update_va_mapping(call, Vaddr((u64{7} << 21) + 0x3000), entry::make(block, ro), 0));
                  return i64{0};
              }).error(),
              Err::Inval)
        << "no L1 there";
    destroy(other);
    as(g);
}

TEST_F(Superpage, SwitchedOff) {
    set_extension_features(DOMUS_FEATURE_ranges | DOMUS_FEATURE_tables);
    EXPECT_EQ(update_one(t.l2, 7, entry::make(block, large_ro)).error(), Err::Inval);
}

TEST_F(Superpage, ManyInATableStopAndGoOn) {
    const Mfn l2 = g.frame();
    arch::zero_frame(l2);
    for (u32 i = 0; i < 100; ++i)
        Guest::at(l2, i) = entry::make(block, i % 2 ? large_rw : large_ro);
    m.yield_every = 1;
    ASSERT_TRUE(ext(MMUEXT_PIN_L2_TABLE, l2));
    EXPECT_GT(restarts, 90u);
    expect_sound({t.l4});
    ASSERT_TRUE(ext(MMUEXT_UNPIN_TABLE, l2));
    EXPECT_GT(restarts, 90u);
    EXPECT_EQ(word_of(block).count(), 0u);
    Guest::at(l2, 100) = entry::make(Mfn(block.n + 1), large_ro);
    EXPECT_EQ(ext(MMUEXT_PIN_L2_TABLE, l2).error(), Err::Inval);
    EXPECT_EQ(word_of(block).count(), 0u);
    m.yield_every = 0;
}

} // namespace
} // namespace domus::test
