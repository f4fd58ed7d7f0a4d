// The builder on a fake hypervisor: the guest is then read through its own page tables, as its processor would.
#include <cstdlib>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xen/elfnote.h>

#include "tests/unit/hypervisor/boot/image/sample.hpp"
#include "toolstack/build/build.hpp"
#include "walker.hpp"

namespace domus::build {
namespace {

using client::test::FakeRaw;
using image::test::Sample;
using testing::HasSubstr;

constexpr std::uint64_t p2m_address = 0x8000000000;

struct BuildTest : testing::Test {
    std::shared_ptr<FakeRaw> raw = std::make_shared<FakeRaw>();
    client::Hypervisor hypervisor{raw};
    std::string folder = testing::TempDir() + "domus-build-" + std::to_string(::getpid());
    Sample sample;
    Request request;

    void SetUp() override {
        ::setenv("DOMUS_IMAGE_CACHE", (folder + "-cache").c_str(), 1);
        for (std::size_t i = 0; i < sample.body.size(); ++i) {
            sample.body[i] = static_cast<std::uint8_t>(i * 7);
        }
        sample.set_note(image::test::number_note(XEN_ELFNOTE_INIT_P2M, p2m_address));
        sample.set_note(image::test::number_note(XEN_ELFNOTE_MOD_START_PFN, 1));
        request.domid = 4;
        request.memory_kib = 40 << 10;
        request.cmdline = "console=hvc0";
        request.store_evtchn = 1;
        request.console_evtchn = 2;
        request.console_domid = 6;
    }
    void TearDown() override {
        EXPECT_EQ(raw->buffers, 0u);
        EXPECT_TRUE(raw->live.empty()) << "a mapping of the guest's memory stayed";
    }
    static std::string put(const std::string& path, const std::vector<std::uint8_t>& bytes) {
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        return path;
    }
    Result build() {
        request.kernel_path = put(folder + "-kernel", sample.make());
        return build_pv_domain(hypervisor, request, nullptr);
    }
    std::uint64_t root() const { return raw->contexts.at(0).ctrlreg[3] >> 12; }
    start_info_t start_info() { return test::read<start_info_t>(*raw, root(), raw->contexts.at(0).user_regs.rsi); }
};

TEST_F(BuildTest, TheGuestFindsItsKernelWhereItIsLinked) {
    build();
    ASSERT_EQ(raw->pinned, std::vector<std::uint64_t>{root()});
    const std::uint64_t text = Sample::base + Sample::load;
    for (std::size_t at = 0; at < sample.body.size(); at += 8) {
        std::uint64_t expected = 0;
        std::memcpy(&expected, sample.body.data() + at, 8);
        ASSERT_EQ(test::read<std::uint64_t>(*raw, root(), text + at), expected) << at;
    }
    const auto& zeros = sample.segments.back();
    EXPECT_EQ(test::read<std::uint64_t>(*raw, root(), Sample::base + zeros.p_paddr + zeros.p_memsz - 8), 0u);
    EXPECT_TRUE(test::walk(*raw, root(), raw->contexts[0].user_regs.rsp - 8)->writable);
}

TEST_F(BuildTest, StartInfoTellsTheTruth) {
    const Result result = build();
    const auto info = start_info();
    EXPECT_STREQ(info.magic, "xen-3.0-x86_64");
    EXPECT_EQ(info.nr_pages, request.memory_kib / 4);
    EXPECT_EQ(info.shared_info, raw->shared_info << 12);
    EXPECT_EQ(info.store_mfn, result.store_mfn);
    EXPECT_EQ(info.console.domU.mfn, result.console_mfn);
    EXPECT_EQ(info.console.domU.evtchn, 2u);
    EXPECT_STREQ(reinterpret_cast<const char*>(info.cmd_line), "console=hvc0");
    EXPECT_EQ(info.mfn_list, p2m_address);
    EXPECT_EQ(test::walk(*raw, root(), info.pt_base)->frame, root());
    for (std::uint64_t i = 0; i < info.nr_pt_frames; ++i) {
        EXPECT_FALSE(test::walk(*raw, root(), info.pt_base + i * 4096)->writable) << "page table " << i;
    }
    for (std::uint64_t pfn : {std::uint64_t{0}, info.nr_pages / 2, info.nr_pages - 1}) {
        const auto frame = test::read<std::uint64_t>(*raw, root(), p2m_address + pfn * 8);
        EXPECT_TRUE(raw->pages.contains(frame));
        const auto direct = test::walk(*raw, root(), Sample::base + pfn * 4096);
        if (direct) {
            EXPECT_EQ(direct->frame, frame);
        }
    }
}

TEST_F(BuildTest, RamdiskComesWholeByFrameNumber) {
    std::vector<std::uint8_t> disk(10000, 0x5a);
    request.ramdisk_path = put(folder + "-disk", disk);
    build();
    const auto info = start_info();
    EXPECT_TRUE(info.flags & SIF_MOD_START_PFN);
    EXPECT_EQ(info.mod_len, disk.size());
    const auto last = test::read<std::uint64_t>(*raw, root(), p2m_address + (info.mod_start + 2) * 8);
    EXPECT_EQ(raw->pages[last][10000 - 2 * 4096 - 1], 0x5a);
    EXPECT_EQ(raw->pages[last][10000 - 2 * 4096], 0) << "a former owner's data after the RAM disk";
}

TEST_F(BuildTest, RingsAreOfferedAndEmpty) {
    const Result result = build();
    grant_entry_v1_t grants[2];
    std::memcpy(grants, raw->pages[raw->grant_frame].data(), sizeof grants);
    EXPECT_EQ(grants[result.console_gref].flags, GTF_permit_access);
    EXPECT_EQ(grants[result.console_gref].domid, 6);
    EXPECT_EQ(grants[result.console_gref].frame, result.console_mfn);
    EXPECT_EQ(grants[result.store_gref].frame, result.store_mfn);
    EXPECT_EQ(grants[result.store_gref].domid, 0);
    EXPECT_EQ(raw->pages[result.store_mfn], FakeRaw::Page{});
    EXPECT_EQ(raw->pages[result.console_mfn], FakeRaw::Page{});
    shared_info_t shared;
    std::memcpy(static_cast<void*>(&shared), raw->pages[raw->shared_info].data(), sizeof shared);
    EXPECT_EQ(shared.vcpu_info[31].evtchn_upcall_mask, 1);
}

TEST_F(BuildTest, FragmentedMemoryDoes) {
    raw->big_extents = false;
    build();
    EXPECT_EQ(raw->pinned.size(), 1u);
}

TEST_F(BuildTest, TooLittleMemorySaysHowMuchThereWas) {
    raw->frames_left = 3000;
    try {
        build();
        FAIL();
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("needs 40 MiB, and only 11 MiB"));
    }
    EXPECT_TRUE(raw->pinned.empty());
}

TEST_F(BuildTest, BadRequestsAreRefusedBeforeAnythingIsDone) {
    request.cmdline.assign(1024, 'x');
    EXPECT_THROW(build(), Error);
    request.cmdline.assign(1023, 'x');
    EXPECT_NO_THROW(build());
    EXPECT_EQ(start_info().cmd_line[1023], 0);
    raw->domctls.clear();
    request.kernel_path = folder + "-absent";
    EXPECT_THROW(build_pv_domain(hypervisor, request, nullptr), Error);
    request.kernel_path = "/";
    EXPECT_THROW(build_pv_domain(hypervisor, request, nullptr), Error);
    request.ramdisk_path = "/dev/zero";
    EXPECT_THROW(build(), Error);
    EXPECT_TRUE(raw->domctls.empty());
}

TEST_F(BuildTest, ATruncatedKernelIsRefused) {
    auto kernel = sample.make();
    kernel.resize(kernel.size() - 1);
    request.kernel_path = put(folder + "-short", kernel);
    EXPECT_THROW(build_pv_domain(hypervisor, request, nullptr), Error);
    EXPECT_TRUE(raw->domctls.empty());
}

TEST_F(BuildTest, ARefusedHypercallIsReportedAndNothingStaysMapped) {
    for (const auto command : {XEN_DOMCTL_max_mem, XEN_DOMCTL_setvcpucontext, XEN_DOMCTL_hypercall_init}) {
        raw->answers[command] = {-EPERM};
        EXPECT_THROW(build(), client::Error);
        EXPECT_TRUE(raw->live.empty());
    }
}

} // namespace
} // namespace domus::build
