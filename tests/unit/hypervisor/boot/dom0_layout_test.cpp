// Where things lie in dom0's memory at its start: nothing overlaps, what must be mapped is, and kernels that ask for
// the impossible are told so.
#include "hypervisor/boot/dom0_layout.hpp"

#include "hypervisor/arch/iface/memory.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <vector>

namespace domus::test {
namespace {

using namespace domus::hv;

constexpr u64 mib_pages = 256;

image::Kernel linux_kernel() {
    image::Kernel k;
    k.virt_base = 0xffffffff80000000;
    k.virt_start = k.virt_base + (16 << 20);
    k.virt_end = k.virt_base + (60 << 20);
    k.init_p2m = 0x8000000000;
    k.mod_start_pfn = true;
    return k;
}

struct Piece {
    u64 first, count;
};

void expect_apart(const Dom0Layout& l, u64 kernel_pages) {
    std::vector<Piece> pieces = {{0, kernel_pages},     {l.module_pfn, l.module_pages}, {l.p2m_pfn, l.p2m_pages},
                                 {l.start_info_pfn, 1}, {l.tables_pfn, l.table_pages},  {l.stack_pfn, 1}};
    std::erase_if(pieces, [](const Piece& piece) { return piece.count == 0; });
    std::ranges::sort(pieces, {}, &Piece::first);
    for (usize i = 1; i < pieces.size(); ++i)
        EXPECT_LE(pieces[i - 1].first + pieces[i - 1].count, pieces[i].first);
    EXPECT_LE(pieces.back().first + pieces.back().count, l.pages);
}

// Counts tables the slow way: every page of what is mapped.
u64 tables_needed(const Dom0Layout& l) {
    std::vector<u64> seen;
    const auto note = [&](u64 address) {
        for (u32 shift : {21u, 30u, 39u})
            seen.push_back(u64{shift} << 58 | address >> shift << 1 | 1);
    };
    for (u64 pfn = 0; pfn < l.mapped_pages; ++pfn)
        note(l.virtual_of(pfn));
    for (u64 i = 0; l.p2m_apart && i < l.p2m_pages; ++i)
        note(l.p2m_address + i * page_size);
    std::ranges::sort(seen);
    seen.erase(std::ranges::unique(seen).begin(), seen.end());
    return seen.size() + 1;
}

TEST(Dom0Layout, OfAKernelLikeLinux) {
    const auto l = lay_out_dom0(linux_kernel(), 768 * mib_pages, 40 << 20);
    ASSERT_TRUE(l);
    expect_apart(*l, 60 * mib_pages);
    EXPECT_GE(l->module_pfn, l->mapped_pages) << "handed over by frame number";
    EXPECT_GE(l->p2m_pfn, l->mapped_pages);
    EXPECT_EQ(l->p2m_address, 0x8000000000u);
    EXPECT_EQ(l->mapped_pages % (4 * mib_pages), 0u);
    EXPECT_GE(l->mapped_pages - l->stack_pfn - 1, mib_pages / 2);
    EXPECT_EQ(l->table_pages, tables_needed(*l));
}

TEST(Dom0Layout, OfAKernelThatWantsAllOfItMapped) {
    image::Kernel k = linux_kernel();
    k.init_p2m.reset();
    k.mod_start_pfn = false;
    for (u64 pages : {128 * mib_pages, 500 * mib_pages, 1024 * mib_pages}) {
        const auto l = lay_out_dom0(k, pages, (20 << 20) + 5);
        ASSERT_TRUE(l);
        expect_apart(*l, 60 * mib_pages);
        EXPECT_EQ(l->module_pages, 20 * mib_pages + 1);
        EXPECT_EQ(l->p2m_address, l->virtual_of(l->p2m_pfn));
        EXPECT_LT(l->stack_pfn, l->mapped_pages);
        EXPECT_GE(l->table_pages, tables_needed(*l));
    }
}

TEST(Dom0Layout, TablesGrowWithTheMapping) {
    image::Kernel k;
    k.virt_base = 0x7fff00000000; // the mapping crosses tables of all levels
    k.virt_end = k.virt_base + (200 << 20);
    k.init_p2m = 0x100000000 - page_size;
    const auto l = lay_out_dom0(k, 400 * mib_pages, 100 << 20);
    ASSERT_TRUE(l);
    expect_apart(*l, 200 * mib_pages);
    EXPECT_GE(l->table_pages, tables_needed(*l));
}

TEST(Dom0Layout, SaysWhatDoesNotFit) {
    const image::Kernel k = linux_kernel();
    EXPECT_TRUE(lay_out_dom0(k, 68 * mib_pages, 0));
    EXPECT_FALSE(lay_out_dom0(k, 63 * mib_pages, 0)) << "no room for the mapping";
    EXPECT_FALSE(lay_out_dom0(k, 68 * mib_pages, 5 << 20)) << "no room for the module";
    EXPECT_FALSE(lay_out_dom0(k, 0, 0));
    EXPECT_FALSE(lay_out_dom0(k, 100 * mib_pages, ~u64{0}));
    EXPECT_FALSE(lay_out_dom0(k, ~u64{0}, 0));
}

TEST(Dom0Layout, StaysInTheGuestsAddresses) {
    image::Kernel k = linux_kernel();
    k.init_p2m.reset();
    EXPECT_FALSE(lay_out_dom0(k, u64{1} << 28, 0)) << "a p2m list of 2 GiB from 0xffffffff80000000 on wraps around";
    for (u64 base : {0xffff7ffffc000000, 0xffff800000000000, 0xffff87ffff000000, u64{1} << 47,
                     (u64{1} << 47) - (32 << 20), ~u64{0} - (61 << 20)}) {
        k = linux_kernel();
        k.virt_base = base & ~page_mask;
        k.virt_end = k.virt_base + (60 << 20);
        EXPECT_FALSE(lay_out_dom0(k, 768 * mib_pages, 0)) << std::hex << base;
    }
    for (u64 p2m : {0xffff800000000000, 0xffff87fffffff000, (u64{1} << 47) - page_size, 0xfffffffffffff000}) {
        k = linux_kernel();
        k.init_p2m = p2m;
        EXPECT_FALSE(lay_out_dom0(k, 768 * mib_pages, 0)) << std::hex << p2m;
    }
    for (i64 offset : {-4096, 0, 60 << 20}) { // in the initial mapping, or reaching into it
        k = linux_kernel();
        k.init_p2m = k.virt_base + static_cast<u64>(offset);
        EXPECT_FALSE(lay_out_dom0(k, 768 * mib_pages, 0)) << offset;
    }
    k = linux_kernel();
    k.virt_base = ~u64{0} - (64 << 20) + 1, k.virt_end = k.virt_base + (60 << 20); // mapped to the very end
    k.init_p2m = ~page_mask - (1 << 20) + page_size;
    EXPECT_FALSE(lay_out_dom0(k, 512 * mib_pages, 0)) << "both end there";
    k = linux_kernel();
    k.virt_end = k.virt_base - 1;
    EXPECT_FALSE(lay_out_dom0(k, 768 * mib_pages, 0));
}

} // namespace
} // namespace domus::test
