// The dom0 builder on the fake machine: a small kernel, its RAM disk, and everything that <xen/xen.h> promises at
// struct start_info, found the way the kernel finds it: through the page tables it is started with. The machine's RAM
// is full of 0xa5, so what is zero was cleared.
#include "hypervisor/boot/dom0.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "tests/fake/machine.hpp"
#include "tests/unit/hypervisor/boot/image/sample.hpp"

#include <gtest/gtest.h>

namespace domus::test {
namespace {

using namespace domus::hv;
using image::test::Buffer;
using image::test::Sample;

constexpr u64 base = Sample::base, load = 1 << 20; // lower than the sample's usual place: the fake machine is small
constexpr u64 zeros_at = load + 0x4000, zeros = 0x2000;

Sample small_kernel() {
    Sample sample;
    sample.segments[0].p_paddr = load;
    sample.segments[0].p_vaddr = base + load;
    sample.segments[1].p_paddr = zeros_at;
    sample.set_note(image::test::number_note(XEN_ELFNOTE_ENTRY, base + load + 0x10));
    sample.set_note(image::test::number_note(XEN_ELFNOTE_HYPERCALL_PAGE, base + load + 0x1000));
    return sample;
}

// Boot modules in the machine's RAM, as the loader leaves them.
class Modules {
public:
    void add(const Buffer& bytes, const std::string& text) {
        u32 order = 0;
        while ((page_size << order) < bytes.size())
            ++order;
        const Mfn first = allocate_frames_below(order, 64).value();
        held_.push_back({first, order});
        std::memcpy(arch::frame_pointer(first), bytes.data(), bytes.size());
        BootModule& module = boot->modules[boot->module_count++];
        module.start = base_of(first).n;
        module.end = module.start + bytes.size();
        text.copy(module.text.bytes, sizeof module.text.bytes - 1);
    }
    ~Modules() {
        for (const auto& [first, order] : held_)
            free_frames(first, order);
    }
    std::unique_ptr<BootInfo> boot = std::make_unique<BootInfo>();

private:
    std::vector<std::pair<Mfn, u32>> held_;
};

std::string panic_of(const Modules& modules, const Options& options = {}) {
    try {
        build_dom0(*modules.boot, options);
    } catch (const fake::Stopped& stopped) {
        return stopped.what();
    }
    return "";
}

class Dom0Refused : public testing::Test {
protected:
    Dom0Refused() { fake::machine(); }
    Modules modules;
};

TEST_F(Dom0Refused, WithoutAKernel) {
    EXPECT_NE(panic_of(modules).find("no dom0 kernel"), std::string::npos);
}

TEST_F(Dom0Refused, WhatIsNoKernel) {
    modules.add(Buffer(5000, 'x'), "");
    EXPECT_NE(panic_of(modules).find("dom0's kernel"), std::string::npos);
    EXPECT_FALSE(dom0());
}

TEST_F(Dom0Refused, AnEmptyModule) {
    modules.add(Buffer(1, 'x'), "");
    modules.boot->modules[0].end = modules.boot->modules[0].start;
    EXPECT_NE(panic_of(modules).find("dom0's kernel"), std::string::npos);
}

TEST_F(Dom0Refused, TooLittleMemory) {
    modules.add(small_kernel().make(), "");
    Options options;
    options.dom0_bytes = 3 << 20;
    EXPECT_NE(panic_of(modules, options).find("too little"), std::string::npos);
    EXPECT_FALSE(dom0());
}

TEST_F(Dom0Refused, AKernelInTheHypervisorsAddresses) {
    Sample sample = small_kernel();
    sample.set_note(image::test::number_note(XEN_ELFNOTE_VIRT_BASE, 0xffff800000000000));
    modules.add(sample.make(), "");
    EXPECT_NE(panic_of(modules).find("dom0's kernel"), std::string::npos);
}

// One dom0 for all tests: there is one for each machine.
class Dom0 : public testing::Test {
protected:
    static constexpr u64 p2m_at = 0x8000000000;
    static void SetUpTestSuite() {
        if (dom0())
            return;
        fake::machine();
        static Modules modules;
        Sample sample = small_kernel();
        sample.notes.push_back(image::test::number_note(XEN_ELFNOTE_INIT_P2M, p2m_at));
        sample.notes.push_back(image::test::number_note(XEN_ELFNOTE_MOD_START_PFN, 1));
        body = sample.body;
        modules.add(sample.make(), "/boot/vmlinuz root=/dev/ram0 quiet");
        ramdisk = Buffer(10000, 'r');
        modules.add(ramdisk, "");
        Options options;
        options.dom0_bytes = 12 << 20;
        options.dom0_vcpus = 2;
        build_dom0(*modules.boot, options);
    }
    Vcpu& v() { return *dom0()->vcpus[0]; }
    // What the first vcpu finds at an address; nothing mapped: nullptr.
    u8* at(u64 address, bool write = false) {
        Mfn table = frame_of(Maddr(v().pv.kernel_root));
        for (FrameType level = FrameType::L4;; level = level_below(level)) {
            const u64 e = m.table(table)[entry_index(Vaddr(address), level)];
            if (!entry::is_present(e) || (write && !entry::is_writable(e)))
                return nullptr;
            table = entry::frame(e);
            if (level == FrameType::L1)
                return m.frame(table) + (address & page_mask);
        }
    }
    const start_info_t& info() { return *reinterpret_cast<start_info_t*>(at(v().regs.rsi)); }
    static bool is_zero(const u8* bytes, u64 count) {
        return std::count(bytes, bytes + count, 0) == static_cast<i64>(count);
    }
    fake::Machine& m = fake::machine();
    static inline Buffer body, ramdisk;
};

TEST_F(Dom0, KernelIsLoadedAndEntered) {
    EXPECT_EQ(v().regs.rip, base + load + 0x10);
    for (u64 i = 0; i < body.size(); i += page_size) {
        if (i != 0x1000) { // the hypercall page
            EXPECT_EQ(std::memcmp(at(base + load + i), body.data() + i, page_size), 0) << i;
        }
    }
    EXPECT_EQ(at(base + load + 0x1000)[0], 0x51) << "push %rcx";
    EXPECT_TRUE(is_zero(at(base + zeros_at), page_size) && is_zero(at(base + zeros_at + page_size), page_size));
    EXPECT_EQ(v().info->evtchn_upcall_mask, 1);
    EXPECT_TRUE(v().initialised);
    EXPECT_FALSE(dom0()->vcpus[1]->initialised);
    EXPECT_TRUE(dom0()->privileged);
}

TEST_F(Dom0, StartInfo) {
    const start_info_t& s = info();
    EXPECT_STREQ(s.magic, "xen-3.0-x86_64");
    EXPECT_EQ(s.nr_pages, (12u << 20) / page_size);
    EXPECT_EQ(s.flags, u32{SIF_PRIVILEGED | SIF_INITDOMAIN | SIF_MOD_START_PFN});
    EXPECT_EQ(s.shared_info, base_of(dom0()->shared_info_frame).n);
    EXPECT_STREQ(reinterpret_cast<const char*>(s.cmd_line), "root=/dev/ram0 quiet");
    EXPECT_EQ(s.mod_len, ramdisk.size());
    EXPECT_EQ(at(s.pt_base), m.frame(frame_of(Maddr(v().pv.kernel_root))));
    EXPECT_EQ(s.console.dom0.info_off, 0u) << "what is not said is zero";
    EXPECT_TRUE(is_zero(reinterpret_cast<const u8*>(&s + 1), page_size - sizeof s));
    EXPECT_TRUE(is_zero(at(v().regs.rsp - page_size), page_size)) << "the stack";
}

TEST_F(Dom0, P2mAndM2pAgree) {
    const start_info_t& s = info();
    EXPECT_EQ(s.mfn_list, p2m_at);
    for (u64 pfn = 0; pfn < s.nr_pages; ++pfn) {
        const u64* entry = reinterpret_cast<u64*>(at(p2m_at + pfn * 8, true));
        ASSERT_TRUE(entry) << pfn;
        ASSERT_EQ(m.m2p[*entry], pfn);
    }
    const u64* module = reinterpret_cast<u64*>(at(p2m_at + s.mod_start * 8));
    EXPECT_EQ(std::memcmp(m.frame(Mfn(*module)), ramdisk.data(), page_size), 0);
}

TEST_F(Dom0, MappingIsWholeAndTablesAreReadOnly) {
    const start_info_t& s = info();
    u64 pfn = 0;
    for (; at(base + pfn * page_size); ++pfn) {
        const u64 address = base + pfn * page_size;
        const bool table = address >= s.pt_base && address < s.pt_base + s.nr_pt_frames * page_size;
        ASSERT_EQ(at(address, true) != nullptr, !table) << pfn;
    }
    EXPECT_EQ(pfn % 1024, 0u) << "to a multiple of 4 MiB";
    EXPECT_GE(base + pfn * page_size - v().regs.rsp, 512u << 10);
    EXPECT_FALSE(at(base - page_size));
    EXPECT_FALSE(at(p2m_at - page_size));
    const Mfn root = frame_of(Maddr(v().pv.kernel_root));
    for (const std::string& line : m.audit({root}))
        ADD_FAILURE() << line;
    for (const auto& past : m.history())
        EXPECT_TRUE(past.safe()) << past.why;
}

} // namespace
} // namespace domus::test
