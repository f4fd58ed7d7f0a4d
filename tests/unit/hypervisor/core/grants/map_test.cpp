// Mapping and unmapping: marks, references and pins go up and down together.
#include "tests/unit/hypervisor/core/grants/grant_pair.hpp"

namespace domus::test {
namespace {

using Map = GrantTest;

TEST_F(Map, WritableMappingAndBack) {
    const Mfn page = grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000);
    ASSERT_EQ(op.status, GNTST_okay);
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access | GTF_reading | GTF_writing);
    EXPECT_EQ(references(page), 2u);
    EXPECT_EQ(type_count(page), 1u);
    EXPECT_EQ(m.entries.size(), 1u);
    EXPECT_EQ(op.dev_bus_addr, 0u);
    m.flushes = 0;
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access);
    EXPECT_EQ(references(page), 1u);
    EXPECT_EQ(type_count(page), 0u);
    EXPECT_TRUE(m.entries.empty());
    EXPECT_EQ(m.flushes, 1u);
}

TEST_F(Map, ReadOnlyMappingTakesNoWritableType) {
    const Mfn page = grant(a, 9, 2, GTF_permit_access | GTF_readonly);
    EXPECT_EQ(map(b, 1, 9, 0x10000).status, GNTST_general_error) << "writing was not granted";
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access | GTF_readonly);
    const auto op = map(b, 1, 9, 0x10000, GNTMAP_host_map | GNTMAP_readonly);
    ASSERT_EQ(op.status, GNTST_okay);
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access | GTF_readonly | GTF_reading);
    EXPECT_EQ(type_count(page), 0u);
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
    EXPECT_EQ(references(page), 1u);
}

TEST_F(Map, MarksFollowTheLastUser) {
    const Mfn page = grant(a, 9, 2);
    const auto w = map(b, 1, 9, 0x10000), r = map(b, 1, 9, 0x20000, GNTMAP_host_map | GNTMAP_readonly);
    ASSERT_EQ(w.status | r.status, 0);
    EXPECT_EQ(references(page), 3u);
    EXPECT_EQ(unmap(b, w.handle, 0x10000), GNTST_okay);
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access | GTF_reading);
    EXPECT_EQ(unmap(b, r.handle, 0x20000), GNTST_okay);
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access);
    EXPECT_EQ(references(page), 1u);
}

TEST_F(Map, DeviceMapping) {
    const Mfn page = grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000, GNTMAP_host_map | GNTMAP_device_map);
    ASSERT_EQ(op.status, GNTST_okay);
    EXPECT_EQ(op.dev_bus_addr, page.n << 12);
    EXPECT_EQ(references(page), 3u);
    EXPECT_EQ(unmap(b, op.handle, 0, op.dev_bus_addr + 4096), GNTST_bad_dev_addr);
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access | GTF_reading | GTF_writing) << "the device still writes";
    EXPECT_EQ(unmap(b, op.handle, 0, op.dev_bus_addr), GNTST_okay);
    EXPECT_EQ(references(page), 1u);
    EXPECT_EQ(unmap(b, op.handle, 0, op.dev_bus_addr), GNTST_bad_handle);
}

TEST_F(Map, BothKindsInOneUnmap) {
    const Mfn page = grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000, GNTMAP_host_map | GNTMAP_device_map);
    EXPECT_EQ(unmap(b, op.handle, 0x10000, op.dev_bus_addr), GNTST_okay);
    EXPECT_EQ(references(page), 1u);
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access);
}

TEST_F(Map, MarksGoOnlyAfterTheFlush) {
    grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000, GNTMAP_host_map | GNTMAP_readonly);
    m.flushes = 0;
    m.on_flush = [&] {
        EXPECT_NE(v1(a, 9)->flags & GTF_reading, 0);
        EXPECT_TRUE(m.entries.empty());
    };
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
    EXPECT_EQ(m.flushes, 1u);
    m.on_flush = nullptr;
}

TEST_F(Map, ABatchIsFlushedInGroupsAndCanStop) {
    std::vector<gnttab_map_grant_ref_t> maps;
    std::vector<gnttab_unmap_grant_ref_t> unmaps;
    for (u32 i = 0; i < 100; ++i) {
        grant(a, 9 + i, 2);
        maps.push_back({.host_addr = 0x10000 + i * 4096, .flags = GNTMAP_host_map, .ref = 9 + i, .dom = 1});
    }
    EXPECT_EQ(m.grants(b, GNTTABOP_map_grant_ref, maps.data(), 100), 0);
    for (const auto& op : maps) {
        ASSERT_EQ(op.status, GNTST_okay);
        unmaps.push_back({.host_addr = op.host_addr, .handle = op.handle});
    }
    m.flushes = 0;
    EXPECT_EQ(m.grants(b, GNTTABOP_unmap_grant_ref, unmaps.data(), 100), 0);
    EXPECT_LE(m.flushes, 4u);
    m.work_waits = true;
    EXPECT_EQ(m.grants(b, GNTTABOP_map_grant_ref, maps.data(), 100), 0);
    EXPECT_EQ(m.entries.size(), 100u);
    EXPECT_EQ(m.yields, 6u);
    for (u32 i = 0; i < 100; ++i) {
        ASSERT_EQ(maps[i].status, GNTST_okay);
        unmaps[i].handle = maps[i].handle;
    }
    EXPECT_EQ(m.grants(b, GNTTABOP_unmap_grant_ref, unmaps.data(), 100), 0);
    EXPECT_TRUE(m.entries.empty());
    for (u32 i = 0; i < 100; ++i)
        EXPECT_EQ(v1(a, 9 + i)->flags, GTF_permit_access);
}

TEST_F(Map, FailureOfThePageTableGivesAllBack) {
    const Mfn page = grant(a, 9, 2);
    m.map_error = Err::Inval;
    const auto op = map(b, 1, 9, 0x10000, GNTMAP_host_map | GNTMAP_device_map);
    EXPECT_LT(op.status, 0);
    EXPECT_EQ(references(page), 1u);
    EXPECT_EQ(type_count(page), 0u);
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access);
}

TEST_F(Map, UnmapAndReplace) {
    const Mfn page = grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000);
    gnttab_unmap_and_replace_t replace{.host_addr = 0x10000, .new_addr = 0, .handle = op.handle};
    EXPECT_EQ(m.grants(b, GNTTABOP_unmap_and_replace, &replace), 0);
    EXPECT_LT(replace.status, 0);
    EXPECT_EQ(references(page), 2u) << "still mapped";
    replace.new_addr = 0x30000;
    EXPECT_EQ(m.grants(b, GNTTABOP_unmap_and_replace, &replace), 0);
    EXPECT_EQ(replace.status, GNTST_okay);
    EXPECT_EQ(references(page), 1u);
}

TEST_F(Map, VersionTwo) {
    set_version(a, 2);
    const Mfn page = m.page(a);
    auto* entry = v2(a, 300);
    entry->full_page.hdr = {GTF_permit_access, 2};
    entry->full_page.frame = page.n;
    const auto op = map(b, 1, 300, 0x10000);
    ASSERT_EQ(op.status, GNTST_okay);
    EXPECT_EQ(entry->hdr.flags, GTF_permit_access) << "marks are in the status words";
    EXPECT_EQ(status_word(a, 300), GTF_reading | GTF_writing);
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
    EXPECT_EQ(status_word(a, 300), 0);
    EXPECT_EQ(references(page), 1u);
}

} // namespace
} // namespace domus::test
