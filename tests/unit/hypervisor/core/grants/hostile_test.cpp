// What hostile domains try against grant tables, by the grant classes of docs/security.md.
#include "tests/unit/hypervisor/core/grants/grant_pair.hpp"

namespace domus::test {
namespace {

using Hostile = GrantTest;

// --- counts and pins ---

TEST_F(Hostile, OneHandleIsUnmappedOnce) {
    const Mfn page = grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000);
    gnttab_unmap_grant_ref_t twice[2] = {{.host_addr = 0x10000, .handle = op.handle},
                                         {.host_addr = 0x10000, .handle = op.handle}};
    EXPECT_EQ(m.grants(b, GNTTABOP_unmap_grant_ref, twice, 2), 0);
    EXPECT_EQ(twice[0].status, GNTST_okay);
    EXPECT_EQ(twice[1].status, GNTST_bad_handle);
    EXPECT_EQ(references(page), 1u);
}

TEST_F(Hostile, HandlesOfNothing) {
    for (u32 handle : {0u, 1u, 127u, 128u, 1u << 20, ~0u})
        EXPECT_EQ(unmap(b, handle, 0x10000), GNTST_bad_handle) << handle;
    grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000);
    EXPECT_EQ(unmap(a, op.handle, 0x10000), GNTST_bad_handle) << "a handle is the mapper's own";
}

TEST_F(Hostile, UnmapAtAnotherAddressTakesNothing) {
    const Mfn page = grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000);
    EXPECT_LT(unmap(b, op.handle, 0x20000), 0);
    EXPECT_EQ(references(page), 2u);
    EXPECT_EQ(unmap(b, op.handle, 0), GNTST_okay) << "no address: nothing to do";
    EXPECT_EQ(references(page), 2u);
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
}

TEST_F(Hostile, UnmapOfBothWithOneWrongIsAllOrNothing) {
    const Mfn page = grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000, GNTMAP_host_map | GNTMAP_device_map);
    EXPECT_LT(unmap(b, op.handle, 0x20000, op.dev_bus_addr), 0);
    EXPECT_EQ(references(page), 3u);
    EXPECT_EQ(unmap(b, op.handle, 0x10000, op.dev_bus_addr), GNTST_okay);
    EXPECT_EQ(references(page), 1u);
}

TEST_F(Hostile, EntryRemovedBehindTheHypervisorsBack) {
    const Mfn page = grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000);
    m.entries.clear(); // mmu_update on the entry: its references are dropped by the page-table code
    put_type(page);
    put_frame(page);
    EXPECT_EQ(references(page), 1u);
    EXPECT_LT(unmap(b, op.handle, 0x10000), 0);
    EXPECT_EQ(references(page), 1u) << "not dropped twice";
    EXPECT_NE(v1(a, 9)->flags & GTF_writing, 0) << "the granter sees it in use: safe";
    m.kill(b);
    EXPECT_EQ(references(page), 1u);
    EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access);
}

// --- the shared entry is read once ---

TEST_F(Hostile, FrameChangedWhileMapped) {
    const Mfn page = grant(a, 9, 2), other = m.page(a);
    const auto op = map(b, 1, 9, 0x10000);
    v1(a, 9)->frame = static_cast<u32>(other.n);
    v1(a, 9)->flags = 0;
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
    EXPECT_EQ(references(page), 1u);
    EXPECT_EQ(references(other), 1u);
}

TEST_F(Hostile, SecondMappingUsesTheFrameOfTheFirst) {
    const Mfn page = grant(a, 9, 2), other = m.page(a);
    const auto first = map(b, 1, 9, 0x10000);
    v1(a, 9)->frame = static_cast<u32>(other.n);
    const auto second = map(b, 1, 9, 0x20000);
    ASSERT_EQ(second.status, GNTST_okay);
    EXPECT_EQ(references(page), 3u);
    EXPECT_EQ(references(other), 1u);
    EXPECT_EQ(unmap(b, second.handle, 0x20000), GNTST_okay);
    EXPECT_EQ(unmap(b, first.handle, 0x10000), GNTST_okay);
    EXPECT_EQ(references(page), 1u);
}

TEST_F(Hostile, RegrantedToAnotherWhileMapped) {
    grant(a, 9, 2);
    const auto op = map(b, 1, 9, 0x10000);
    v1(a, 9)->domid = 7;
    EXPECT_EQ(map(zero, 1, 9, 0x10000).status, GNTST_bad_gntref);
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
}

// --- what may be granted ---

TEST_F(Hostile, FramesThatAreNotTheGranters) {
    const Mfn theirs = m.page(zero);
    for (u32 frame : {static_cast<u32>(theirs.n), 0u, static_cast<u32>(ram_frames), ~0u}) {
        *v1(a, 9) = {GTF_permit_access, 2, frame};
        EXPECT_LT(map(b, 1, 9, 0x10000).status, 0) << frame;
        EXPECT_EQ(v1(a, 9)->flags, GTF_permit_access) << "no mark stays";
    }
    EXPECT_EQ(references(theirs), 1u);
}

TEST_F(Hostile, PageTablesAreNotMappedWritable) {
    const Mfn table = grant(a, 9, 2);
    ASSERT_TRUE(get_frame_and_type(table, a, FrameType::L1));
    EXPECT_LT(map(b, 1, 9, 0x10000).status, 0);
    const auto op = map(b, 1, 9, 0x10000, GNTMAP_host_map | GNTMAP_readonly);
    EXPECT_EQ(op.status, GNTST_okay) << "reading it is harmless";
    EXPECT_EQ(unmap(b, op.handle, 0x10000), GNTST_okay);
    put_frame_and_type(table);
    const auto writable = map(b, 1, 9, 0x10000);
    ASSERT_EQ(writable.status, GNTST_okay);
    EXPECT_EQ(get_frame_and_type(table, a, FrameType::L1).error(), Err::Busy) << "and no table while mapped";
    EXPECT_EQ(unmap(b, writable.handle, 0x10000), GNTST_okay);
}

TEST_F(Hostile, OnlyForWhomItIsAndWhatItIs) {
    const Mfn page = grant(a, 9, 2);
    EXPECT_EQ(map(zero, 1, 9, 0x10000).status, GNTST_general_error) << "privilege is not a grant";
    for (u16 flags : {u16{GTF_invalid}, u16{GTF_accept_transfer}, u16{GTF_transitive}}) {
        v1(a, 9)->flags = flags;
        EXPECT_EQ(map(b, 1, 9, 0x10000).status, GNTST_general_error);
        EXPECT_EQ(v1(a, 9)->flags, flags);
    }
    EXPECT_EQ(references(page), 1u);
    EXPECT_EQ(map(b, 99, 9, 0x10000).status, GNTST_bad_domain);
    EXPECT_EQ(map(b, DOMID_SELF, 9, 0x10000).status, GNTST_bad_domain);
    for (u32 ref : {512u, 1u << 20, ~0u})
        EXPECT_EQ(map(b, 1, ref, 0x10000).status, GNTST_bad_gntref) << ref;
}

TEST_F(Hostile, Flags) {
    grant(a, 9, 2);
    EXPECT_EQ(map(b, 1, 9, 0x10000, 0).status, GNTST_bad_gntref);
    EXPECT_EQ(map(b, 1, 9, 0x10000, GNTMAP_readonly).status, GNTST_bad_gntref);
    EXPECT_EQ(map(b, 1, 9, 0x10000, GNTMAP_host_map | 1u << 10).status, GNTST_bad_gntref);
}

// --- bounds ---

TEST_F(Hostile, HandlesAreBounded) {
    grant(a, 9, 2);
    std::vector<u32> handles;
    for (;;) {
        const auto op = map(b, 1, 9, 0x10000 + handles.size() * 4096);
        if (op.status != GNTST_okay) {
            EXPECT_EQ(op.status, GNTST_no_space);
            break;
        }
        handles.push_back(op.handle);
    }
    EXPECT_EQ(handles.size(), 4u * 128);
    for (u32 i = 0; i < handles.size(); ++i)
        EXPECT_EQ(unmap(b, handles[i], 0x10000 + i * 4096), GNTST_okay);
    EXPECT_EQ(map(b, 1, 9, 0x10000).status, GNTST_okay);
}

TEST_F(Hostile, StatusFramesOfVersionOne) {
    uint64_t list[4];
    gnttab_get_status_frames_t op{.nr_frames = 1, .dom = DOMID_SELF};
    set_xen_guest_handle(op.frame_list, list);
    EXPECT_EQ(m.grants(a, GNTTABOP_get_status_frames, &op), 0);
    EXPECT_EQ(op.status, GNTST_general_error);
    set_version(a, 2);
    EXPECT_EQ(m.grants(a, GNTTABOP_get_status_frames, &op), 0);
    EXPECT_EQ(op.status, GNTST_okay);
    op.nr_frames = ~0u;
    EXPECT_EQ(m.grants(a, GNTTABOP_get_status_frames, &op), 0);
    EXPECT_EQ(op.status, GNTST_general_error);
}

TEST_F(Hostile, BadPointers) {
    for (u32 command = 0; command < 13; ++command) {
        if (command != GNTTABOP_transfer && command != GNTTABOP_cache_flush) {
            EXPECT_EQ(m.grants(a, command, nullptr), minus(Err::Fault)) << command;
        }
    }
}

// Random operations on random entries; whatever happens, no count is lost and all memory comes back.
TEST_F(Hostile, RandomOperations) {
    Domain* all[] = {&zero, &a, &b};
    std::vector<Mfn> pages;
    for (Domain* d : all) {
        for (int i = 0; i < 6; ++i)
            pages.push_back(m.page(*d));
    }
    u64 state = 88172645463325252ull;
    auto next = [&](u64 below) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state % below;
    };
    for (int i = 0; i < 40000; ++i) {
        Domain& d = *all[next(3)];
        const u16 other = all[next(3)]->id.n;
        const u32 ref = next(16);
        const u64 address = 0x10000 + next(32) * 4096;
        switch (next(7)) {
        case 0: // the guest writes its table, whatever is in use
            if (d.grants.version() == 1)
                *v1(d, ref) = {static_cast<u16>(next(16)), other, static_cast<u32>(pages[next(pages.size())].n)};
            else
                v2(d, ref)->full_page = {{static_cast<u16>(next(512)), other}, 0, pages[next(pages.size())].n};
            break;
        case 1:
        case 2:
            (void)map(d, other, ref, address, static_cast<u32>(next(8)));
            break;
        case 3:
        case 4:
            (void)unmap(d, static_cast<u32>(next(64)), next(4) ? address : 0, next(4) ? 0 : pages[next(18)].n << 12);
            break;
        case 5: {
            gnttab_copy_t op{};
            op.source = {{.ref = ref}, other, static_cast<u16>(next(5000))};
            op.dest = {{.gmfn = pages[next(18)].n}, DOMID_SELF, static_cast<u16>(next(5000))};
            op.len = static_cast<u16>(next(3000));
            op.flags = static_cast<u16>(next(4));
            (void)m.grants(d, GNTTABOP_copy, &op);
            break;
        }
        default:
            gnttab_set_version_t version{static_cast<u32>(1 + next(2))};
            if (next(20) == 0)
                (void)m.grants(d, GNTTABOP_set_version, &version);
        }
    }
    for (Domain* d : {&b, &a, &zero})
        m.kill(*d);
    for (Mfn page : pages)
        EXPECT_EQ(frame_info(page).refs.load(), 0u);
}

} // namespace
} // namespace domus::test
