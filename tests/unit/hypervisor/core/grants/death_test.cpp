// The end of either side of a mapping. The machine checks that all memory comes back.
#include "tests/unit/hypervisor/core/grants/grant_pair.hpp"

namespace domus::test {
namespace {

using Death = GrantTest;

TEST_F(Death, OfTheMapper) {
    const Mfn page = grant(a, 9, 2), other = grant(a, 10, 2);
    ASSERT_EQ(map(b, 1, 9, 0x10000).status, GNTST_okay);
    ASSERT_EQ(map(b, 1, 10, 0x20000, GNTMAP_device_map | GNTMAP_host_map | GNTMAP_readonly).status, GNTST_okay);
    m.kill(b);
    EXPECT_EQ(references(page), 1u);
    EXPECT_EQ(references(other), 1u);
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access);
    EXPECT_EQ(v1(a, 10)->flags, GTF_permit_access);
}

TEST_F(Death, OfTheMapperCanStopAndGoOn) {
    for (u32 i = 0; i < 200; ++i) {
        grant(a, i, 2);
        ASSERT_EQ(map(b, 1, i, 0x10000 + i * 4096).status, GNTST_okay);
    }
    m.work_waits = true;
    m.kill(b);
    for (u32 i = 0; i < 200; ++i)
        EXPECT_EQ(v1(a, i)->flags, GTF_permit_access);
}

TEST_F(Death, OfTheGranterLeavesTheMappingUsable) {
    const Mfn page = grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000);
    *m.at<u64>(page) = 42;
    m.kill(a);
    EXPECT_EQ(references(page), 1u) << "the mapping holds the frame";
    EXPECT_EQ(*m.at<u64>(page), 42u);
    EXPECT_EQ(map(b, 1, 9, 0x20000).status, GNTST_bad_gntref) << "but nothing more can be mapped";
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
    EXPECT_FALSE(find_domain(DomId(1))) << "the last mapping lets the domain go";
}

TEST_F(Death, OfBoth) {
    grant(a, 9, 2);
    ASSERT_EQ(map(b, 1, 9, 0x10000).status, GNTST_okay);
    m.kill(a);
    m.kill(b);
    EXPECT_FALSE(find_domain(DomId(1)));
}

TEST_F(Death, OfDomainsThatMapEachOther) {
    grant(a, 9, 2);
    grant(b, 9, 1);
    ASSERT_EQ(map(b, 1, 9, 0x10000).status, GNTST_okay);
    ASSERT_EQ(map(a, 2, 9, 0x10000).status, GNTST_okay);
    m.kill(a);
    m.kill(b);
    EXPECT_FALSE(find_domain(DomId(1)));
    EXPECT_FALSE(find_domain(DomId(2)));
}

} // namespace
} // namespace domus::test
