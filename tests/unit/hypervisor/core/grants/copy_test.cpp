// GNTTABOP_copy: what is copied, and that nothing stays held.
#include "tests/unit/hypervisor/core/grants/grant_pair.hpp"

#include <cstring>

namespace domus::test {
namespace {

struct Copy : GrantTest {
    gnttab_copy_t op{};
    i16 run(Domain& by) {
        EXPECT_EQ(m.grants(by, GNTTABOP_copy, &op), 0);
        return op.status;
    }
    void from_grant(u16 dom, u32 ref, u16 offset) {
        op.source.u.ref = ref;
        op.source.domid = dom;
        op.source.offset = offset;
        op.flags |= GNTCOPY_source_gref;
    }
    void to_own(Mfn frame, u16 offset) {
        op.dest.u.gmfn = frame.n;
        op.dest.domid = DOMID_SELF;
        op.dest.offset = offset;
    }
};

TEST_F(Copy, FromAGrantToOwnFrame) {
    const Mfn page = grant(a, 9, 2, GTF_permit_access | GTF_readonly), mine = m.page(b);
    std::strcpy(m.at<char>(page) + 100, "hello");
    from_grant(1, 9, 100);
    to_own(mine, 4090);
    op.len = 6;
    EXPECT_EQ(run(b), GNTST_okay);
    EXPECT_STREQ(m.at<char>(mine) + 4090, "hello");
    EXPECT_EQ(references(page), 1u);
    EXPECT_EQ(references(mine), 1u);
    EXPECT_EQ(type_count(mine), 0u);
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access | GTF_readonly);
}

TEST_F(Copy, BetweenTwoDomainsByAThird) {
    Domain& c = m.make_domain(3);
    const Mfn from = grant(a, 9, 2), to = grant(c, 11, 2);
    *m.at<u64>(from) = 42;
    from_grant(1, 9, 0);
    op.dest.u.ref = 11;
    op.dest.domid = 3;
    op.flags |= GNTCOPY_dest_gref;
    op.len = 8;
    EXPECT_EQ(run(b), GNTST_okay);
    EXPECT_EQ(*m.at<u64>(to), 42u);
}

TEST_F(Copy, ReadOnlyGrantIsNoDestination) {
    grant(a, 9, 2, GTF_permit_access | GTF_readonly);
    const Mfn mine = m.page(b);
    op.source.u.gmfn = mine.n;
    op.source.domid = DOMID_SELF;
    op.dest.u.ref = 9;
    op.dest.domid = 1;
    op.flags = GNTCOPY_dest_gref;
    op.len = 8;
    EXPECT_EQ(run(b), GNTST_general_error);
    EXPECT_EQ(references(mine), 1u);
}

TEST_F(Copy, CrossingThePageIsRefused) {
    grant(a, 9, 2);
    const Mfn mine = m.page(b);
    from_grant(1, 9, 4090);
    to_own(mine, 0);
    op.len = 7;
    EXPECT_EQ(run(b), GNTST_bad_copy_arg);
    op.source.offset = 0;
    op.dest.offset = 0xffff;
    EXPECT_EQ(run(b), GNTST_bad_copy_arg);
    op.dest.offset = 0;
    op.len = 0xffff;
    EXPECT_EQ(run(b), GNTST_bad_copy_arg);
    op.len = 4096;
    EXPECT_EQ(run(b), GNTST_okay);
}

TEST_F(Copy, ForeignFramesNeedAGrant) {
    const Mfn theirs = m.page(a), mine = m.page(b);
    op.source.u.gmfn = theirs.n;
    op.source.domid = DOMID_SELF; // a frame that is not ours
    to_own(mine, 0);
    op.len = 8;
    EXPECT_EQ(run(b), GNTST_bad_page);
    op.source.domid = 1;
    EXPECT_EQ(run(b), GNTST_permission_denied);
    op.source.domid = DOMID_SELF;
    op.source.u.gmfn = ~u64{0};
    EXPECT_EQ(run(b), GNTST_bad_page);
    op.source.u.gmfn = mine.n;
    op.flags = 1 << 7;
    EXPECT_EQ(run(b), GNTST_general_error);
}

TEST_F(Copy, PageTableIsNoDestination) {
    const Mfn table = m.page(b);
    ASSERT_TRUE(get_frame_and_type(table, b, FrameType::L2));
    grant(a, 9, 2);
    from_grant(1, 9, 0);
    to_own(table, 0);
    op.len = 8;
    EXPECT_EQ(run(b), GNTST_bad_page);
    put_frame_and_type(table);
}

TEST_F(Copy, PartOfAPage) {
    set_version(a, 2);
    const Mfn page = m.page(a), mine = m.page(b);
    auto* entry = v2(a, 20);
    entry->sub_page.hdr = {GTF_permit_access | GTF_sub_page, 2};
    entry->sub_page.page_off = 256;
    entry->sub_page.length = 16;
    entry->sub_page.frame = page.n;
    from_grant(1, 20, 256);
    to_own(mine, 0);
    op.len = 16;
    EXPECT_EQ(run(b), GNTST_okay);
    op.len = 17;
    EXPECT_EQ(run(b), GNTST_bad_copy_arg);
    op.len = 1;
    op.source.offset = 255;
    EXPECT_EQ(run(b), GNTST_bad_copy_arg);
    EXPECT_EQ(map(b, 1, 20, 0x10000, GNTMAP_host_map | GNTMAP_readonly).status, GNTST_bad_gntref)
        << "a part can be copied, not mapped";
    entry->sub_page.page_off = 4095;
    entry->sub_page.length = 2;
    op.source.offset = 4095;
    EXPECT_EQ(run(b), GNTST_bad_gntref) << "a part that leaves the page";
    EXPECT_EQ(status_word(a, 20), 0);
    EXPECT_EQ(references(page), 1u);
}

} // namespace
} // namespace domus::test
