// memory_op: giving, taking and exchanging memory, maps and limits, with good and hostile arguments. Expectations are
// those of <xen/memory.h>, and what Xen 4.17 answers: extents done, so 0 where the first one failed.
#include "guest.hpp"

#include "hypervisor/core/machine_map.hpp"

namespace domus::test {
namespace {

class MemoryOp : public MemoryTest {
protected:
    MemoryOp() {
        g = make_guest(64);
        as(g);
    }
    xen_memory_reservation_t reservation(u64 extents, u32 order = 0, u16 domid = DOMID_SELF) {
        xen_memory_reservation_t r{};
        r.extent_start.p = reinterpret_cast<xen_pfn_t*>(list_at);
        r.nr_extents = extents;
        r.extent_order = order;
        r.domid = domid;
        return r;
    }
    void put_list(std::vector<u64> values, u64 at = list_at) {
        std::memcpy(m.window(at, values.size() * 8), values.data(), values.size() * 8);
    }
    u64 item(u64 i, u64 at = list_at) { return m.get<u64>(at + i * 8); }
    u64 total(Guest& guest) {
        return guest.domain->frames.with([](OwnedFrames& list) { return list.total; });
    }
    static constexpr u64 list_at = fake::window_base + 0x10000;
    static constexpr u64 other_list_at = fake::window_base + 0x20000;
    Guest g;
};

TEST_F(MemoryOp, PopulateAndGiveBack) {
    put_list({100, 200, 300});
    auto r = reservation(3);
    EXPECT_EQ(memory(XENMEM_populate_physmap, r).value(), 3);
    EXPECT_EQ(total(g), 3u);
    EXPECT_EQ(m.m2p[item(1)], 200u);
    put_list({item(0), item(1), item(2)});
    EXPECT_EQ(memory(XENMEM_decrease_reservation, r).value(), 3);
    EXPECT_EQ(total(g), 0u);
    EXPECT_EQ(memory(XENMEM_decrease_reservation, r).value(), 0) << "given back already";
    destroy(g);
}

TEST_F(MemoryOp, StopsAtTheLimitAndSaysHowFar) {
    std::vector<u64> list(100);
    for (u64 i = 0; i < list.size(); ++i)
        list[i] = i;
    put_list(list);
    auto r = reservation(100);
    m.yield_every = 1;
    EXPECT_EQ(memory(XENMEM_populate_physmap, r).value(), 64);
    EXPECT_GT(restarts, 1u);
    EXPECT_EQ(total(g), 64u);
    auto domain = xen_memory_domain{DOMID_SELF};
    EXPECT_EQ(memory(XENMEM_current_reservation, domain).value(), 64);
    EXPECT_EQ(memory(XENMEM_maximum_reservation, domain).value(), 64);
    destroy(g);
}

TEST_F(MemoryOp, LargeExtentsAndAddressLimits) {
    put_list({0x1000});
    auto r = reservation(1, 4);
    EXPECT_EQ(memory(XENMEM_populate_physmap, r).value(), 1);
    EXPECT_EQ(total(g), 16u);
    EXPECT_EQ(m.m2p[item(0) + 15], 0x100fu);
    r = reservation(1, 10);
    EXPECT_EQ(memory(XENMEM_populate_physmap, r).value(), 0);
    r = reservation(1);
    r.mem_flags = XENMEMF_address_bits(20); // below 1 MiB is no free memory
    EXPECT_EQ(memory(XENMEM_populate_physmap, r).value(), 0);
    r = reservation(1);
    r.extent_order = ~0u;
    EXPECT_EQ(memory(XENMEM_increase_reservation, r).value(), 0);
    destroy(g);
}

TEST_F(MemoryOp, NothingIsLostWhenTheListIsHostile) {
    auto r = reservation(3);
    r.extent_start.p = reinterpret_cast<xen_pfn_t*>(0xffff800000000000);
    EXPECT_EQ(memory(XENMEM_populate_physmap, r).value(), 0);
    EXPECT_EQ(memory(XENMEM_increase_reservation, r).value(), 0);
    EXPECT_EQ(memory(XENMEM_decrease_reservation, r).value(), 0);
    EXPECT_EQ(total(g), 0u);
    r = reservation(~u64{0});
    EXPECT_EQ(memory(XENMEM_populate_physmap, r).value(), 0);
    Call call{g.vcpu(), *g.domain, {}};
    m.put(reservation(2));
    EXPECT_EQ(memory_op(call, XENMEM_populate_physmap | 3 << 6, {fake::window_base}).value(), 3)
        << "further than the list is long";
    EXPECT_EQ(memory_op(call, XENMEM_populate_physmap, {0}).value(), 0);
    EXPECT_EQ(total(g), 0u);
    EXPECT_EQ(memory_op(call, 63, {0}).error(), Err::NoSys);
    put_list({0, ~u64{0}, 5000, fake::ram_frames});
    r = reservation(4);
    EXPECT_EQ(memory(XENMEM_decrease_reservation, r).value(), 0);
    destroy(g);
}

TEST_F(MemoryOp, OthersMemoryIsPrivilegedBusiness) {
    Guest other = make_guest(64);
    auto r = reservation(1, 0, other.domain->id.n);
    EXPECT_EQ(memory(XENMEM_populate_physmap, r).value(), 0);
    EXPECT_EQ(memory(XENMEM_decrease_reservation, r).value(), 0);
    Guest tools = make_guest(64, true);
    as(tools);
    put_list({7});
    EXPECT_EQ(memory(XENMEM_populate_physmap, r).value(), 1);
    EXPECT_EQ(total(other), 1u);
    EXPECT_EQ(frame_info(Mfn(item(0))).owner.load(), &*other.domain);
    r.domid = 4321;
    EXPECT_EQ(memory(XENMEM_populate_physmap, r).value(), 0);
    destroy(tools);
    destroy(other);
    destroy(g);
}

TEST_F(MemoryOp, AFreedFrameShowsNothingToTheNext) {
    Guest first = make_guest(4096);
    for (int i = 0; i < 2000; ++i)
        std::memset(m.frame(first.frame()), 0x77, page_size);
    destroy(first);
    Guest second = make_guest(8192);
    for (;;) {
        const auto mfn = allocate_domain_frames(*second.domain, 0);
        if (!mfn)
            break;
        for (u32 i = 0; i < 512; ++i)
            ASSERT_NE(Guest::at(mfn.value(), i), 0x7777777777777777u);
    }
    destroy(second);
    destroy(g);
}

class ExchangeTest : public MemoryOp {
protected:
    xen_memory_exchange_t exchange(u64 in, u32 in_order, u64 out, u32 out_order) {
        xen_memory_exchange_t e{};
        e.in = reservation(in, in_order);
        e.out = reservation(out, out_order);
        e.out.extent_start.p = reinterpret_cast<xen_pfn_t*>(other_list_at);
        return e;
    }
    std::vector<u64> own(u64 count) {
        std::vector<u64> list;
        for (u64 i = 0; i < count; ++i)
            list.push_back(g.frame().n);
        return list;
    }
};

// A frame that comes back from an exchange that failed has lost its history as a writable page; a CPU may still write
// to it by a translation from before.
TEST_F(ExchangeTest, AFailedOneForgetsNoTranslation) {
    const auto t = build(g);
    const Mfn frame = g.frame();
    arch::zero_frame(frame);
    Guest::at(t.l1, 0) = entry::make(frame, rw);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    arch::flush_all((arch::CpuMask{1} << fake::cpus) - 1); // now the CPU has it
    ASSERT_TRUE(update_one(t.l1, 0, 0));
    put_list({frame.n, Mfn(1).n});
    put_list({0}, other_list_at);
    auto e = exchange(2, 0, 1, 1); // two for one contiguous pair: all or nothing
    EXPECT_FALSE(memory(XENMEM_exchange, e)) << "the second is not its own";
    ASSERT_TRUE(ext(MMUEXT_PIN_L1_TABLE, frame));
    expect_sound();
    destroy(g);
}

// The hypervisor's own objects come out of frames that guests had.
TEST_F(MemoryOp, AFreedFrameIsFlushedBeforeTheHypervisorUsesIt) {
    const auto t = build(g);
    const Mfn frame = g.frame();
    Guest::at(t.l1, 0) = entry::make(frame, rw);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    arch::flush_all((arch::CpuMask{1} << fake::cpus) - 1);
    ASSERT_TRUE(update_one(t.l1, 0, 0));
    put_list({frame.n});
    auto r = reservation(1);
    ASSERT_EQ(memory(XENMEM_decrease_reservation, r).value(), 1);
    const auto taken = allocate_frames();
    ASSERT_TRUE(taken);
    EXPECT_FALSE(m.stale_writable().contains(taken.value().n));
    EXPECT_FALSE(m.stale_writable().contains(frame.n)) << "it could have been this one";
    free_frames(taken.value());
    destroy(g);
}

TEST_F(ExchangeTest, KeepsWhatIsAlreadyAsWanted) {
    auto list = own(16);
    std::sort(list.begin(), list.end());
    const auto start = std::find_if(list.begin(), list.end(), [](u64 n) { return n % 8 == 0; });
    ASSERT_GE(list.end() - start, 8);
    ASSERT_EQ(start[7], *start + 7) << "the fake allocator gives neighbours";
    const std::vector<u64> extent(start, start + 8);
    put_list(extent);
    put_list({0x40}, other_list_at);
    const u64 free_before = free_frame_count();
    Guest::at(Mfn(extent[3]), 5) = 0x1234;
    auto e = exchange(8, 0, 1, 3);
    ASSERT_TRUE(memory(XENMEM_exchange, e));
    EXPECT_EQ(item(0, other_list_at), extent[0]);
    EXPECT_EQ(m.m2p[extent[7]], 0x47u);
    EXPECT_EQ(Guest::at(Mfn(extent[3]), 5), 0x1234u) << "nothing was moved";
    EXPECT_EQ(free_frame_count(), free_before);
    EXPECT_EQ(total(g), 16u);
    // The same in another order is not the same.
    auto turned = extent;
    std::reverse(turned.begin(), turned.end());
    put_list(turned);
    put_list({0x40}, other_list_at);
    e = exchange(8, 0, 1, 3);
    ASSERT_TRUE(memory(XENMEM_exchange, e));
    EXPECT_NE(item(0, other_list_at), extent[0]);
    EXPECT_EQ(total(g), 16u);
    // Nor is what lies too high.
    put_list({item(0, other_list_at)});
    put_list({0x40}, other_list_at);
    e = exchange(1, 3, 1, 3);
    e.out.mem_flags = XENMEMF_address_bits(13);
    EXPECT_EQ(memory(XENMEM_exchange, e).error(), Err::NoMem);
    EXPECT_EQ(total(g), 16u) << "and it was given back";
    destroy(g);
}

TEST_F(ExchangeTest, SinglesForOneContiguousExtentAndBack) {
    auto singles = own(8);
    std::reverse(singles.begin(), singles.end()); // else they might be the extent that is asked for
    put_list(singles);
    put_list({0x40}, other_list_at);
    auto e = exchange(8, 0, 1, 3);
    ASSERT_TRUE(memory(XENMEM_exchange, e));
    EXPECT_EQ(e.nr_exchanged, 8u);
    EXPECT_EQ(total(g), 8u);
    const u64 first = item(0, other_list_at);
    for (u64 k = 0; k < 8; ++k) {
        EXPECT_EQ(frame_info(Mfn(first + k)).owner.load(), &*g.domain);
        EXPECT_EQ(m.m2p[first + k], 0x40 + k);
    }
    put_list({first});
    put_list({1, 2, 3, 4, 5, 6, 7, 8}, other_list_at);
    e = exchange(1, 3, 8, 0);
    ASSERT_TRUE(memory(XENMEM_exchange, e));
    EXPECT_EQ(m.m2p[item(2, other_list_at)], 3u);
    EXPECT_EQ(total(g), 8u);
    destroy(g);
}

TEST_F(ExchangeTest, StopsAtAFrameInUseAndLosesNothing) {
    const auto t = build(g);
    ASSERT_TRUE(ext(MMUEXT_PIN_L4_TABLE, t.l4));
    auto list = own(4);
    ASSERT_TRUE(update_one(t.l1, 1, entry::make(Mfn(list[3]), ro)));
    put_list(list);
    put_list({10, 20}, other_list_at);
    auto e = exchange(4, 0, 2, 1);
    m.yield_every = 1;
    EXPECT_EQ(memory(XENMEM_exchange, e).error(), Err::Busy);
    EXPECT_EQ(e.nr_exchanged, 2u) << "the first chunk";
    EXPECT_EQ(total(g), 8u);
    expect_sound();
    list = {t.l1.n};
    put_list(list);
    e = exchange(1, 0, 1, 0);
    EXPECT_EQ(memory(XENMEM_exchange, e).error(), Err::Busy) << "a page table";
    expect_sound();
    destroy(g);
}

TEST_F(ExchangeTest, HostileRequests) {
    put_list(own(4));
    put_list({1}, other_list_at);
    auto e = exchange(4, 0, 1, 1);
    EXPECT_EQ(memory(XENMEM_exchange, e).error(), Err::Inval) << "sizes differ";
    e = exchange(4, 0, 1, 2);
    e.nr_exchanged = 3;
    EXPECT_EQ(memory(XENMEM_exchange, e).error(), Err::Inval) << "in the middle of a chunk";
    e = exchange(4, 0, 1, 2);
    e.nr_exchanged = 5;
    EXPECT_EQ(memory(XENMEM_exchange, e).error(), Err::Inval);
    e = exchange(u64{1} << 62, 2, u64{1} << 63, 1);
    EXPECT_EQ(memory(XENMEM_exchange, e).error(), Err::Inval) << "overflow";
    e = exchange(4, 0, 1, 2);
    e.out.domid = 0;
    EXPECT_EQ(memory(XENMEM_exchange, e).error(), Err::Inval);
    e = exchange(1, 40, 1, 40);
    EXPECT_EQ(memory(XENMEM_exchange, e).error(), Err::Perm);
    put_list({4000});
    e = exchange(1, 0, 1, 0);
    EXPECT_FALSE(memory(XENMEM_exchange, e)) << "not its own";
    put_list({item(0), item(0)});
    EXPECT_EQ(total(g), 4u);
    e = exchange(1, 0, 1, 0);
    e.in.extent_start.p = reinterpret_cast<xen_pfn_t*>(0xffff800000000000);
    EXPECT_EQ(memory(XENMEM_exchange, e).error(), Err::Fault);
    expect_sound();
    destroy(g);
}

TEST_F(MemoryOp, MapsAndLimits) {
    xen_memory_map_t map{};
    EXPECT_EQ(memory(XENMEM_memory_map, map).error(), Err::NoSys) << "none given";
    EXPECT_EQ(memory(XENMEM_machine_memory_map, map).error(), Err::Perm);
    xen_machphys_mapping_t mapping{};
    ASSERT_TRUE(memory(XENMEM_machphys_mapping, mapping));
    EXPECT_EQ(mapping.v_start, 0xffff800000000000u);
    EXPECT_EQ(mapping.max_mfn, fake::ram_frames - 1);
    const u16 id = g.domain->id.n;

    Guest tools = make_guest(64, true);
    as(tools);
    const MapEntry given[2] = {{0, 0xa0000, 1}, {0x100000, 0x1000000, 1}};
    m.put(given, list_at);
    xen_foreign_memory_map_t foreign{};
    foreign.domid = id;
    foreign.map.nr_entries = 2;
    foreign.map.buffer.p = reinterpret_cast<void*>(list_at);
    ASSERT_TRUE(memory(XENMEM_set_memory_map, foreign));
    foreign.map.nr_entries = 1000000;
    EXPECT_EQ(memory(XENMEM_set_memory_map, foreign).error(), Err::Inval);
    set_machine_map(given);
    map.nr_entries = 1;
    map.buffer.p = reinterpret_cast<void*>(other_list_at);
    ASSERT_TRUE(memory(XENMEM_machine_memory_map, map));
    EXPECT_EQ(map.nr_entries, 1u);

    as(g);
    map.nr_entries = 10;
    ASSERT_TRUE(memory(XENMEM_memory_map, map));
    EXPECT_EQ(map.nr_entries, 2u);
    EXPECT_EQ(m.get<MapEntry>(other_list_at + sizeof(MapEntry)).length, 0x1000000u);
    destroy(tools);
    destroy(g);
}

} // namespace
} // namespace domus::test
