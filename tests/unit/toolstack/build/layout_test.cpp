// Layouts of many kernels: nothing overlaps, everything promised is there, what cannot work is refused in words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "toolstack/build/build.hpp"
#include "toolstack/build/layout.hpp"

namespace domus::build {
namespace {

using testing::HasSubstr;

image::Kernel linux_like() {
    image::Kernel kernel;
    kernel.virt_base = 0xffffffff80000000;
    kernel.virt_start = kernel.virt_base + (16 << 20);
    kernel.virt_end = kernel.virt_start + (60 << 20) + 123;
    kernel.init_p2m = 0x8000000000;
    kernel.mod_start_pfn = true;
    return kernel;
}

void expect_sound(const Layout& l) {
    const std::vector<Run> runs = {l.kernel,          l.ramdisk,    l.p2m,          l.p2m_tables, l.tables,
                                   {l.start_info, 1}, {l.store, 1}, {l.console, 1}, {l.stack, 1}};
    for (std::size_t i = 0; i < runs.size(); ++i) {
        EXPECT_LE(runs[i].end(), l.pages);
        for (std::size_t j = 0; j < i; ++j) {
            const bool apart = runs[i].end() <= runs[j].first || runs[j].end() <= runs[i].first || runs[i].count == 0 ||
                               runs[j].count == 0;
            EXPECT_TRUE(apart) << "runs " << i << " and " << j;
        }
    }
    EXPECT_GE(l.mapped, l.stack + 1 + 128) << "512 KiB of padding";
    EXPECT_LE(l.mapped, l.pages);
    EXPECT_GE(l.tables.count, 1 + tables_for(l.virt_base, l.address(l.mapped)));
    EXPECT_GE(l.p2m.count * 512, l.pages);
}

TEST(Layout, SoundForEveryWishAndSize) {
    for (const bool own_p2m : {false, true}) {
        for (const bool by_frame : {false, true}) {
            for (const std::uint64_t ramdisk : {0, 1, 4096, 5 << 20}) {
                for (const std::uint64_t mib : {96, 100, 128, 255, 4096}) {
                    auto kernel = linux_like();
                    kernel.mod_start_pfn = by_frame;
                    if (!own_p2m) {
                        kernel.init_p2m.reset();
                    }
                    expect_sound(lay_out(kernel, mib << 8, ramdisk));
                }
            }
        }
    }
}

TEST(Layout, ATinyGuestGetsByWithoutTheLastGranule) {
    image::Kernel kernel;
    kernel.virt_start = 0x100000;
    kernel.virt_end = 0x104000;
    expect_sound(lay_out(kernel, 512, 0)); // 2 MiB
}

TEST(Layout, TooLittleMemorySaysHowMuchIsNeeded) {
    try {
        lay_out(linux_like(), 64 << 8, 5 << 20);
        FAIL();
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("memory = 64 MiB is too little"));
        EXPECT_THAT(error.what(), HasSubstr("at least 8"));
    }
}

TEST(Layout, AddressesOfTheHypervisorAreRefused) {
    auto kernel = linux_like();
    kernel.init_p2m = 0xffff800000000000;
    EXPECT_THROW(lay_out(kernel, 256 << 8, 0), Error);
    kernel.init_p2m = 0x00007ffffffff000; // runs into the non-canonical hole
    EXPECT_THROW(lay_out(kernel, 256 << 8, 0), Error);
    kernel.init_p2m = *linux_like().init_p2m + 8;
    EXPECT_THROW(lay_out(kernel, 256 << 8, 0), Error);
    kernel.init_p2m = kernel.virt_base + (4 << 20); // inside the initial mapping
    EXPECT_THROW(lay_out(kernel, 256 << 8, 0), Error);
    kernel = linux_like();
    kernel.virt_base = 0xffff810000000000;
    kernel.virt_start = kernel.virt_base;
    kernel.virt_end = kernel.virt_start + 4096;
    EXPECT_THROW(lay_out(kernel, 256 << 8, 0), Error);
    kernel = linux_like();
    kernel.virt_base += 0x1000000000; // above its own image
    EXPECT_THROW(lay_out(kernel, 256 << 8, 0), Error);
}

TEST(Layout, AMappedRamdiskThatRunsOverTheEndIsRefused) {
    auto kernel = linux_like();
    kernel.mod_start_pfn = false;
    EXPECT_THROW(lay_out(kernel, 4096ull << 8, 2ull << 30), Error);
}

} // namespace
} // namespace domus::build
