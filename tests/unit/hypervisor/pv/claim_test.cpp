// XENMEM_claim_pages: frames promised to a domain are given to nobody else. Expectations are those of <xen/memory.h>.
#include "guest.hpp"

#include "hypervisor/core/domain_info.hpp"

namespace domus::test {
namespace {

class Claims : public MemoryTest {
protected:
    Claims() { as(tools); }
    ~Claims() override {
        for (Guest* guest : {&g, &other, &tools}) {
            if (guest->domain)
                destroy(*guest);
        }
        EXPECT_EQ(claimed_frame_count(), 0u);
    }
    Result<i64> claim(const Guest& guest, u64 pages) {
        xen_memory_reservation_t r{};
        r.nr_extents = pages;
        r.domid = guest.domain->id.n;
        return memory(XENMEM_claim_pages, r);
    }
    // Extents that were given.
    u64 populate(const Guest& guest, u64 extents, u32 order = 0) {
        for (u64 i = 0; i < extents; ++i)
            m.put(u64{i}, list_at + i * 8);
        xen_memory_reservation_t r{};
        r.extent_start.p = reinterpret_cast<xen_pfn_t*>(list_at);
        r.nr_extents = extents;
        r.extent_order = order;
        r.domid = guest.domain->id.n;
        return static_cast<u64>(memory(XENMEM_populate_physmap, r).value());
    }
    u64 outstanding(const Guest& guest) {
        xen_domctl_getdomaininfo info{};
        fill_domain_info(*guest.domain, info);
        return info.outstanding_pages;
    }
    static constexpr u64 list_at = fake::window_base + 0x10000;
    Guest tools = make_guest(64, true), g = make_guest(~u64{0}), other = make_guest(~u64{0});
};

TEST_F(Claims, AreKeptForTheClaimant) {
    const u64 pages = free_frame_count() - 100;
    ASSERT_TRUE(claim(g, pages));
    EXPECT_EQ(claimed_frame_count(), pages);
    EXPECT_EQ(outstanding(g), pages);
    EXPECT_EQ(populate(other, 200), 100u) << "what is not promised";
    EXPECT_EQ(populate(g, 512), 512u);
    EXPECT_EQ(outstanding(g), pages - 512);
    EXPECT_EQ(populate(other, 1), 0u);
    for (u64 i = 0; i < 6; ++i)
        EXPECT_EQ(populate(g, 1, 9), 1u);
    EXPECT_EQ(claimed_frame_count(), pages - 7 * 512);
}

TEST_F(Claims, ExpireWhenTheyAreMet) {
    EXPECT_EQ(populate(g, 3), 3u);
    ASSERT_TRUE(claim(g, 10));
    EXPECT_EQ(outstanding(g), 7u) << "not incremental";
    EXPECT_EQ(populate(g, 6), 6u);
    EXPECT_EQ(populate(g, 1, 2), 1u) << "larger than what is left of the claim";
    EXPECT_EQ(outstanding(g), 0u);
    EXPECT_EQ(claimed_frame_count(), 0u);
    EXPECT_TRUE(claim(g, 20)) << "the next one may come";
    EXPECT_EQ(outstanding(g), 7u);
}

TEST_F(Claims, OneAtATimeAndZeroResets) {
    ASSERT_TRUE(claim(g, 10));
    EXPECT_EQ(claim(g, 20).error(), Err::Inval);
    EXPECT_EQ(outstanding(g), 10u);
    EXPECT_TRUE(claim(g, 0));
    EXPECT_TRUE(claim(g, 0)) << "always successful";
    EXPECT_EQ(claimed_frame_count(), 0u);
}

TEST_F(Claims, AreNotGrantedBeyondWhatIsFree) {
    const u64 free = free_frame_count();
    EXPECT_EQ(claim(g, free + 1).error(), Err::NoMem);
    EXPECT_EQ(claim(g, ~u64{0}).error(), Err::NoMem);
    ASSERT_TRUE(claim(g, free));
    EXPECT_EQ(claim(other, 1).error(), Err::NoMem);
    EXPECT_EQ(allocate_frames(0).error(), Err::NoMem);
    EXPECT_TRUE(claim(g, 0));
    EXPECT_TRUE(claim(other, free));
}

TEST_F(Claims, JudgeTheirArguments) {
    other.domain->frames.with([&](OwnedFrames& list) { list.maximum = 8; });
    EXPECT_EQ(populate(other, 4), 4u);
    EXPECT_EQ(claim(other, 4).error(), Err::Inval) << "has as much already";
    EXPECT_EQ(claim(other, 9).error(), Err::Inval) << "more than it may have";
    xen_memory_reservation_t good{};
    good.nr_extents = 8;
    good.domid = other.domain->id.n;
    auto r = good;
    r.extent_order = 1;
    EXPECT_EQ(memory(XENMEM_claim_pages, r).error(), Err::Inval);
    r = good, r.mem_flags = 1;
    EXPECT_EQ(memory(XENMEM_claim_pages, r).error(), Err::Inval);
    r = good, r.extent_start.p = reinterpret_cast<xen_pfn_t*>(list_at);
    EXPECT_EQ(memory(XENMEM_claim_pages, r).error(), Err::Inval);
    r = good, r.domid = 12345;
    EXPECT_EQ(memory(XENMEM_claim_pages, r).error(), Err::Srch);
    as(other);
    r = good, r.domid = DOMID_SELF;
    EXPECT_EQ(memory(XENMEM_claim_pages, r).error(), Err::Perm);
    EXPECT_EQ(claimed_frame_count(), 0u);
}

TEST_F(Claims, SurviveAnAllocationThatFails) {
    other.domain->frames.with([&](OwnedFrames& list) { list.maximum = 10; });
    ASSERT_TRUE(claim(other, 10));
    EXPECT_EQ(populate(other, 1, 4), 0u) << "more than it may have";
    EXPECT_EQ(outstanding(other), 10u);
    EXPECT_EQ(claimed_frame_count(), 10u);
    EXPECT_EQ(populate(other, 1, 18), 0u) << "no such block";
    EXPECT_EQ(outstanding(other), 10u);
    EXPECT_EQ(claimed_frame_count(), 10u);
}

TEST_F(Claims, EndWithTheDomain) {
    ASSERT_TRUE(claim(g, 1000));
    EXPECT_EQ(populate(g, 10), 10u);
    destroy(g);
    EXPECT_EQ(claimed_frame_count(), 0u);
    as(tools);
    other.domain->life = Life::Dying;
    EXPECT_EQ(claim(other, 10).error(), Err::Inval);
    other.domain->life = Life::Alive;
}

} // namespace
} // namespace domus::test
