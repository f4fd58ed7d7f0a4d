// Grants in page tables: where they may go, what they must be to come out again, and whose the references are.
#include "guest.hpp"

namespace domus::test {
namespace {

class GrantEntry : public MemoryTest {
protected:
    GrantEntry() {
        g = make_guest();
        other = make_guest();
        as(g);
        t = build(g);
        EXPECT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
        EXPECT_TRUE(ext(MMUEXT_NEW_BASEPTR, t.l4));
        granted = other.frame();
    }
    // As the grant table does: references first, which become the entry's.
    Result<void> map(u64 address, u32 flags) {
        const bool write = (flags & GNTMAP_readonly) == 0;
        auto got =
            write ? get_frame_and_type(granted, *other.domain, FrameType::Writable) : get_frame(granted, *other.domain);
        EXPECT_TRUE(got);
        auto result = map_grant_pte(*g.domain, {address, flags, granted});
        if (!result)
            write ? put_frame_and_type(granted) : put_frame(granted);
        return result;
    }
    Result<void> unmap(u64 address, u32 flags) {
        TRY(unmap_grant_pte(*g.domain, {address, flags, granted}));
        (flags & GNTMAP_readonly) == 0 ? put_frame_and_type(granted) : put_frame(granted);
        return {};
    }
    void end() {
        expect_sound({t.l4});
        destroy(g);
        destroy(other);
    }
    Guest g, other;
    Tables t;
    Mfn granted;
};

TEST_F(GrantEntry, GoesInAndOutByAddressAndByEntry) {
    ASSERT_TRUE(map(5 * page_size, GNTMAP_host_map));
    EXPECT_TRUE(entry::is_writable(Guest::at(t.l1, 5)));
    expect_sound({t.l4});
    ASSERT_TRUE(unmap(5 * page_size, GNTMAP_host_map));
    EXPECT_EQ(Guest::at(t.l1, 5), 0u);
    const u32 flags = GNTMAP_host_map | GNTMAP_readonly | GNTMAP_contains_pte | 1 << _GNTMAP_guest_avail0;
    ASSERT_TRUE(map(base_of(t.l1).n + 6 * 8, flags));
    EXPECT_EQ(Guest::at(t.l1, 6) & (entry::writable | 1 << 9), 1u << 9);
    ASSERT_TRUE(unmap(base_of(t.l1).n + 6 * 8, flags));
    end();
}

TEST_F(GrantEntry, NeedsAnAlignedEntryOfAnL1OfItsOwn) {
    const u32 flags = GNTMAP_host_map | GNTMAP_contains_pte;
    EXPECT_FALSE(map(base_of(t.l1).n + 4, flags));
    EXPECT_FALSE(map(base_of(t.l2).n, flags));
    EXPECT_FALSE(map(base_of(g.frame()).n, flags));
    EXPECT_FALSE(map(base_of(granted).n, flags));
    EXPECT_FALSE(map(~u64{7}, flags));
    EXPECT_FALSE(map(u64{1} << 40, GNTMAP_host_map));
    EXPECT_FALSE(map(0xffff800000000000, GNTMAP_host_map));
    end();
}

TEST_F(GrantEntry, MustMatchAtUnmap) {
    ASSERT_TRUE(map(5 * page_size, GNTMAP_host_map | GNTMAP_readonly));
    EXPECT_FALSE(unmap(5 * page_size, GNTMAP_host_map)) << "another permission";
    EXPECT_FALSE(unmap(6 * page_size, GNTMAP_host_map | GNTMAP_readonly));
    ASSERT_TRUE(update_one(t.l1, 5, entry::make(g.frame(), ro)));
    EXPECT_FALSE(unmap(5 * page_size, GNTMAP_host_map | GNTMAP_readonly)) << "the guest put another frame there";
    end();
}

TEST_F(GrantEntry, CannotBeWidenedOrCopied) {
    ASSERT_TRUE(map(5 * page_size, GNTMAP_host_map | GNTMAP_readonly));
    EXPECT_FALSE(update_one(t.l1, 5, entry::make(granted, rw)));
    EXPECT_FALSE(update_one(t.l1, 6, entry::make(granted, ro)));
    EXPECT_TRUE(update_one(t.l1, 5, 0)) << "given up without an unmap";
    EXPECT_FALSE(unmap(5 * page_size, GNTMAP_host_map | GNTMAP_readonly));
    end();
}

TEST_F(GrantEntry, ReplacesWithTheEntryOfAnotherAddress) {
    const Mfn own = g.frame();
    ASSERT_TRUE(update_one(t.l1, 7, entry::make(own, rw)));
    ASSERT_TRUE(map(5 * page_size, GNTMAP_host_map));
    ASSERT_TRUE(replace_grant_pte(*g.domain, {5 * page_size, GNTMAP_host_map, granted}, 7 * page_size));
    put_frame_and_type(granted);
    EXPECT_EQ(Guest::at(t.l1, 5), entry::make(own, rw));
    EXPECT_EQ(Guest::at(t.l1, 7), 0u);
    EXPECT_FALSE(replace_grant_pte(*g.domain, {5 * page_size, GNTMAP_host_map, granted}, 7 * page_size));
    end();
}

} // namespace
} // namespace domus::test
