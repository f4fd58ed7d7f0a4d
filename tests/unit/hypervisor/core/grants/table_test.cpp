// The table itself: growing, versions, swapping, questions about it, privilege.
#include "tests/unit/hypervisor/core/grants/grant_pair.hpp"

namespace domus::test {
namespace {

using TableTest = GrantTest;

TEST_F(TableTest, SetupGrowsAndLists) {
    xen_pfn_t list[9] = {};
    gnttab_setup_table_t op{.dom = DOMID_SELF, .nr_frames = 3};
    set_xen_guest_handle(op.frame_list, list);
    EXPECT_EQ(m.grants(a, GNTTABOP_setup_table, &op), 0);
    EXPECT_EQ(op.status, GNTST_okay);
    EXPECT_EQ(list[0], a.grants.frame_for_guest(0, false).value().n);
    EXPECT_EQ(list[2], a.grants.frame_for_guest(2, false).value().n);
    EXPECT_EQ(list[3], 0u);
    gnttab_query_size_t size{.dom = DOMID_SELF};
    EXPECT_EQ(m.grants(a, GNTTABOP_query_size, &size), 0);
    EXPECT_EQ(size.nr_frames, 3u);
    EXPECT_EQ(size.max_nr_frames, 8u);
    op.nr_frames = 9;
    EXPECT_EQ(m.grants(a, GNTTABOP_setup_table, &op), 0);
    EXPECT_EQ(op.status, GNTST_general_error);
    op = {.dom = 2, .nr_frames = 1};
    EXPECT_EQ(m.grants(a, GNTTABOP_setup_table, &op), 0);
    EXPECT_EQ(op.status, GNTST_permission_denied);
    set_xen_guest_handle(op.frame_list, list);
    EXPECT_EQ(m.grants(zero, GNTTABOP_setup_table, &op), 0);
    EXPECT_EQ(op.status, GNTST_okay);
    op.dom = 99;
    EXPECT_EQ(m.grants(zero, GNTTABOP_setup_table, &op), 0);
    EXPECT_EQ(op.status, GNTST_bad_domain);
    EXPECT_EQ(m.grants(zero, GNTTABOP_setup_table, &op, 2), minus(Err::Inval));
}

TEST_F(TableTest, GuestFramesOnDemand) {
    EXPECT_TRUE(a.grants.frame_for_guest(7, false));
    EXPECT_EQ(a.grants.frame_for_guest(8, false).error(), Err::Inval);
    EXPECT_EQ(a.grants.frame_for_guest(~0u, false).error(), Err::Inval);
    EXPECT_EQ(a.grants.frame_for_guest(0, true).error(), Err::Inval) << "status frames belong to version 2";
    set_version(a, 2);
    EXPECT_TRUE(a.grants.frame_for_guest(0, true));
    EXPECT_EQ(a.grants.frame_for_guest(1, true).error(), Err::Inval) << "8 frames need one page of status words";
    EXPECT_EQ(a.grants.frame_for_guest(~0u, true).error(), Err::Inval);
}

TEST_F(TableTest, VersionsKeepTheReservedEntries) {
    const Mfn console = grant(a, GNTTAB_RESERVED_CONSOLE, 2);
    grant(a, 8, 2);
    set_version(a, 2);
    EXPECT_EQ(v2(a, 0)->full_page.frame, console.n);
    EXPECT_EQ(v2(a, 0)->hdr.flags, GTF_permit_access);
    EXPECT_EQ(v2(a, 0)->hdr.domid, 2);
    EXPECT_EQ(v2(a, 8)->hdr.flags, 0) << "others are cleared";
    v2(a, 3)->transitive.hdr.flags = GTF_transitive;
    set_version(a, 1);
    EXPECT_EQ(v1(a, 0)->frame, console.n);
    EXPECT_EQ(v1(a, 3)->flags, 0);
    gnttab_get_version_t get{.dom = 1};
    EXPECT_EQ(m.grants(zero, GNTTABOP_get_version, &get), 0);
    EXPECT_EQ(get.version, 1u);
    EXPECT_EQ(m.grants(b, GNTTABOP_get_version, &get), minus(Err::Perm));
    gnttab_set_version_t bad{3};
    EXPECT_EQ(m.grants(a, GNTTABOP_set_version, &bad), minus(Err::Inval));
}

TEST_F(TableTest, NoSwitchWhileInUse) {
    grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000);
    gnttab_set_version_t version{2};
    EXPECT_EQ(m.grants(a, GNTTABOP_set_version, &version), minus(Err::Busy));
    EXPECT_EQ(version.version, 1u) << "says what is in force";
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
    set_version(a, 2);
}

TEST_F(TableTest, Swap) {
    const Mfn p = grant(a, 9, 2), q = grant(a, 10, 2);
    gnttab_swap_grant_ref_t op{9, 10};
    EXPECT_EQ(m.grants(a, GNTTABOP_swap_grant_ref, &op), 0);
    EXPECT_EQ(op.status, GNTST_okay);
    EXPECT_EQ(v1(a, 9)->frame, q.n);
    EXPECT_EQ(v1(a, 10)->frame, p.n);
    const auto mapped = map(b, 1, 9, 0x10000);
    EXPECT_EQ(m.grants(a, GNTTABOP_swap_grant_ref, &op), 0);
    EXPECT_EQ(op.status, GNTST_eagain);
    EXPECT_EQ(unmap(b, mapped.handle, 0x10000), GNTST_okay);
    op = {9, 512};
    EXPECT_EQ(m.grants(a, GNTTABOP_swap_grant_ref, &op), 0);
    EXPECT_EQ(op.status, GNTST_bad_gntref);
}

TEST_F(TableTest, DumpAndWhatIsNotOffered) {
    grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000);
    gnttab_dump_table_t dump{.dom = 1};
    EXPECT_EQ(m.grants(zero, GNTTABOP_dump_table, &dump), 0);
    EXPECT_EQ(dump.status, GNTST_okay);
    EXPECT_NE(m.printed.find("reference 9: "), std::string::npos);
    m.printed.clear();
    dump.dom = DOMID_SELF;
    for (int i = 0; i < 1000; ++i)
        EXPECT_EQ(m.grants(a, GNTTABOP_dump_table, &dump), 0);
    EXPECT_LE(std::count(m.printed.begin(), m.printed.end(), '\n'), 100) << "a guest cannot fill the log";
    gnttab_transfer_t transfer{};
    EXPECT_EQ(m.grants(a, GNTTABOP_transfer, &transfer), minus(Err::NoSys));
    EXPECT_EQ(m.grants(a, GNTTABOP_cache_flush, &transfer), minus(Err::OpNotSupp));
    EXPECT_EQ(m.grants(a, 13, &transfer), minus(Err::NoSys));
    EXPECT_EQ(m.grants(a, GNTTABOP_copy, &transfer, 0x80000000), minus(Err::Inval));
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
}

} // namespace
} // namespace domus::test
