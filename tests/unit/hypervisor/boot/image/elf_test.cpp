// ELF and note parsing: what a kernel says is read right, and every kind of nonsense is refused with its name.
#include "tests/unit/hypervisor/boot/image/sample.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <xen/elfnote.h>
#include <xen/features.h>

namespace domus::image::test {
namespace {

using ::testing::HasSubstr;

Kernel parsed(const Sample& sample) {
    const auto kernel = parse_elf(sample.make());
    EXPECT_TRUE(kernel) << kernel.error().message;
    return kernel ? *kernel : Kernel{};
}

std::string refusal(const Sample& sample) {
    const auto kernel = parse_elf(sample.make());
    return kernel ? "" : kernel.error().message;
}

TEST(ParseElf, ReadsSegmentsAndNotes) {
    const auto kernel = parsed(Sample());
    EXPECT_EQ(kernel.entry, 0xffffffff81000010u);
    EXPECT_EQ(kernel.virt_base, 0xffffffff80000000u);
    EXPECT_EQ(kernel.hypercall_page, 0xffffffff81001000u);
    EXPECT_EQ(kernel.virt_start, 0xffffffff81000000u);
    EXPECT_EQ(kernel.virt_end, 0xffffffff81006000u);
    ASSERT_EQ(kernel.segment_count, 2u);
    EXPECT_EQ(kernel.segments[0].file_offset, Sample::text_offset);
    EXPECT_EQ(kernel.segments[0].file_size, 0x3000u);
    EXPECT_EQ(kernel.segments[1].mem_size, 0x2000u);
    EXPECT_EQ(kernel.segments[1].virtual_address, 0xffffffff81004000u); // by p_paddr: Linux' p_vaddr is 0 there
    EXPECT_EQ(kernel.segments[1].physical_address, 0x1004000u);
    EXPECT_FALSE(kernel.init_p2m || kernel.hv_start_low || kernel.mod_start_pfn || kernel.features_listed);
}

TEST(ParseElf, ReadsWhatLinuxSays) {
    Sample sample;
    sample.set_note(number_note(XEN_ELFNOTE_INIT_P2M, 0x8000000000));
    sample.set_note(number_note(XEN_ELFNOTE_HV_START_LOW, 0xffff800000000000));
    sample.set_note(number_note(XEN_ELFNOTE_MOD_START_PFN, 1));
    sample.set_note(number_note(XEN_ELFNOTE_SUSPEND_CANCEL, 1));
    sample.set_note(text_note(XEN_ELFNOTE_FEATURES, "!writable_page_tables|pae_pgdir_above_4gb|from_the_future"));
    sample.set_note({XEN_ELFNOTE_SUPPORTED_FEATURES, {0x01, 0x88, 0, 0}});
    sample.set_note(text_note(XEN_ELFNOTE_GUEST_VERSION, "2.6"));
    const auto kernel = parsed(sample);
    EXPECT_EQ(kernel.init_p2m, 0x8000000000u);
    EXPECT_EQ(kernel.hv_start_low, 0xffff800000000000u);
    EXPECT_TRUE(kernel.mod_start_pfn && kernel.suspend_cancel && kernel.features_listed);
    EXPECT_EQ(kernel.features_required, 1u << XENFEAT_writable_page_tables);
    EXPECT_EQ(kernel.features_supported, 0x8801u | 1u << XENFEAT_pae_pgdir_above_4gb);
    EXPECT_STREQ(kernel.guest_version.text, "2.6");
}

TEST(ParseElf, PaddrOffsetIsTakenOff) {
    Sample sample;
    for (auto& segment : sample.segments)
        segment.p_paddr += Sample::base;
    sample.set_note(number_note(XEN_ELFNOTE_PADDR_OFFSET, Sample::base));
    EXPECT_EQ(parsed(sample).segments[0].physical_address, Sample::load);
    sample.segments[1].p_paddr = 0x1000;
    EXPECT_THAT(refusal(sample), HasSubstr("physical address 0x1000"));
}

TEST(ParseElf, NotesInSectionsAreTheFallBack) {
    Sample sample;
    sample.notes_in_section = true;
    EXPECT_EQ(parsed(sample).entry, 0xffffffff81000010u);
}

TEST(ParseElf, NotesOfOthersAreSkipped) {
    Sample sample;
    sample.notes.insert(sample.notes.begin(), Note{XEN_ELFNOTE_ENTRY, {1, 2, 3}, "GNU"});
    sample.notes.insert(sample.notes.begin(), Note{XEN_ELFNOTE_ENTRY, {1, 2, 3}, "XenXen"});
    EXPECT_EQ(parsed(sample).entry, 0xffffffff81000010u);
}

TEST(ParseElf, TextIsCutAndCleaned) {
    Sample sample;
    sample.set_note({XEN_ELFNOTE_GUEST_OS, Buffer(1000, u8{'a'})}); // no NUL at all
    sample.set_note({XEN_ELFNOTE_LOADER, {'x', 0x1b, '[', 0xff}});
    const auto kernel = parsed(sample);
    EXPECT_EQ(std::strlen(kernel.guest_os.text), sizeof kernel.guest_os.text - 1);
    EXPECT_STREQ(kernel.loader.text, "x?[?");
}

struct Refused {
    const char* name;
    void (*damage)(Sample&);
    const char* message;
};
const Refused refused[] = {
    {"no_notes", [](Sample& s) { s.notes.clear(); }, "no Xen ELF notes; build with CONFIG_XEN_PV"},
    {"no_entry", [](Sample& s) { s.drop_note(XEN_ELFNOTE_ENTRY); }, "XEN_ELFNOTE_ENTRY is missing"},
    {"entry_outside", [](Sample& s) { s.set_note(number_note(XEN_ELFNOTE_ENTRY, 16)); }, "XEN_ELFNOTE_ENTRY 0x10"},
    {"entry_size",
     [](Sample& s) {
         s.set_note({XEN_ELFNOTE_ENTRY, {1, 2, 3}});
     },
     "4 or 8 bytes, but has 3"},
    {"hypercall_unaligned", [](Sample& s) { s.set_note(number_note(XEN_ELFNOTE_HYPERCALL_PAGE, Sample::base + 8)); },
     "XEN_ELFNOTE_HYPERCALL_PAGE"},
    {"hypercall_beyond",
     [](Sample& s) { s.set_note(number_note(XEN_ELFNOTE_HYPERCALL_PAGE, Sample::base + Sample::load + 0x3000)); },
     "XEN_ELFNOTE_HYPERCALL_PAGE"},
    {"p2m_in_hole", [](Sample& s) { s.set_note(number_note(XEN_ELFNOTE_INIT_P2M, 0xffff810000000000)); },
     "XEN_ELFNOTE_INIT_P2M"},
    {"p2m_not_canonical", [](Sample& s) { s.set_note(number_note(XEN_ELFNOTE_INIT_P2M, u64{1} << 60)); },
     "XEN_ELFNOTE_INIT_P2M"},
    {"hv_start_too_high", [](Sample& s) { s.set_note(number_note(XEN_ELFNOTE_HV_START_LOW, ~u64{0} << 12)); },
     "XEN_ELFNOTE_HV_START_LOW"},
    {"required_feature", [](Sample& s) { s.set_note(text_note(XEN_ELFNOTE_FEATURES, "dom0|!time_travel")); },
     "requires \"time_travel\""},
    {"base_wraps", [](Sample& s) { s.set_note(number_note(XEN_ELFNOTE_VIRT_BASE, ~u64{0} - (15u << 20))); },
     "XEN_ELFNOTE_VIRT_BASE"},
    {"base_in_hole", [](Sample& s) { s.set_note(number_note(XEN_ELFNOTE_VIRT_BASE, 0xffff800000000000)); },
     "hypervisor's part"},
    {"base_not_canonical", [](Sample& s) { s.set_note(number_note(XEN_ELFNOTE_VIRT_BASE, u64{1} << 50)); },
     "outside the address space"},
    {"base_across_canonical_hole",
     [](Sample& s) { s.set_note(number_note(XEN_ELFNOTE_VIRT_BASE, (u64{1} << 47) - Sample::load - 0x1000)); },
     "outside the address space"},
    {"huge_memsz", [](Sample& s) { s.segments[0].p_memsz = ~u64{0}; }, "not within 1 TiB"},
    {"long_span", [](Sample& s) { s.segments[1].p_paddr = u64{1} << 30; }, "spans"},
    {"filesz_over_memsz", [](Sample& s) { s.segments[0].p_memsz = 1; }, "does not fit"},
    {"offset_wraps", [](Sample& s) { s.segments[0].p_offset = ~u64{0}; }, "does not fit"},
    {"beyond_file", [](Sample& s) { s.segments[0].p_filesz = s.segments[0].p_memsz = 1 << 20; }, "does not fit"},
    {"overlap", [](Sample& s) { s.segments[1].p_paddr = Sample::load + 0x2fff; }, "overlap"},
    {"contained", [](Sample& s) { s.segments[1].p_paddr = Sample::load + 1, s.segments[1].p_memsz = 1; }, "overlap"},
    {"nothing_to_load", [](Sample& s) { s.segments.clear(); }, "no PT_LOAD"},
    {"class32", [](Sample& s) { s.header.e_ident[EI_CLASS] = ELFCLASS32; }, "64-bit x86"},
    {"machine", [](Sample& s) { s.header.e_machine = EM_AARCH64; }, "machine 183"},
    {"type", [](Sample& s) { s.header.e_type = ET_REL; }, "ELF type 1"},
    {"phentsize", [](Sample& s) { s.header.e_phentsize = 1; }, "program headers of 1 bytes"},
    {"phnum", [](Sample& s) { s.header.e_phnum = 0xffff; }, "65535 program headers"},
    {"phoff", [](Sample& s) { s.header.e_phoff = ~u64{0} - 8; }, "lie outside the file"},
    {"many_segments",
     [](Sample& s) {
         for (u64 i = 0; i < 20; ++i)
             s.segments.push_back({PT_LOAD, PF_R, 0, 0, 0x3000000 + i * 4096, 0, 4096, 4096});
     },
     "more than 16"},
};

class RefusedKernel : public ::testing::TestWithParam<Refused> {};
INSTANTIATE_TEST_SUITE_P(ParseElf, RefusedKernel, ::testing::ValuesIn(refused),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(RefusedKernel, IsNamed) {
    Sample sample;
    GetParam().damage(sample);
    EXPECT_THAT(refusal(sample), HasSubstr(GetParam().message));
}

TEST(ParseElf, NoteLongerThanItsSegmentIsRefused) {
    auto file = Sample().make();
    const u64 first_note = Sample::text_offset + Sample().body.size();
    for (const std::size_t field : {0u, 4u}) { // name size, descriptor size
        auto damaged = file;
        std::memset(&damaged[first_note + field], 0xff, 4);
        const auto kernel = parse_elf(damaged);
        ASSERT_FALSE(kernel);
        EXPECT_THAT(kernel.error().message, HasSubstr("longer than the notes"));
    }
}

TEST(ParseElf, LegacySectionIsNamed) {
    Sample sample;
    sample.notes.clear();
    auto file = sample.make();
    Elf64_Ehdr header;
    std::memcpy(&header, file.data(), sizeof header);
    header.e_shoff = file.size();
    header.e_shnum = 1;
    header.e_shstrndx = 0;
    std::memcpy(file.data(), &header, sizeof header);
    const Elf64_Shdr names{0, SHT_STRTAB, 0, 0, file.size() + sizeof(Elf64_Shdr), 12};
    file.insert(file.end(), reinterpret_cast<const u8*>(&names), reinterpret_cast<const u8*>(&names + 1));
    file.insert(file.end(), "__xen_guest", "__xen_guest" + 12);
    EXPECT_THAT(parse_elf(file).error().message, HasSubstr("__xen_guest section"));
}

TEST(ParseElf, EveryTruncationIsRefusedOrInside) {
    const auto file = Sample().make();
    for (std::size_t length = 0; length < file.size(); length += 7) {
        const Buffer cut(file.begin(), file.begin() + length);
        EXPECT_FALSE(parse_elf(cut)) << length;
    }
}

// Whatever is flipped, what comes back lies inside the file.
TEST(ParseElf, FlippedBitsNeverEscapeTheFile) {
    const auto file = Sample().make();
    std::mt19937 random(3);
    for (int round = 0; round < 20000; ++round) {
        auto damaged = file;
        const std::size_t notes = Sample::text_offset + Sample().body.size();
        for (int flips = 0; flips < 3; ++flips) {
            const bool in_headers = random() % 2 == 0;
            const std::size_t at = in_headers ? random() % 300 : notes + random() % (file.size() - notes);
            damaged[at] ^= static_cast<u8>(1 << random() % 8);
        }
        const auto kernel = parse_elf(damaged);
        if (!kernel)
            continue;
        for (const auto& segment : kernel->loaded()) {
            EXPECT_LE(segment.file_offset + segment.file_size, file.size());
            EXPECT_GT(segment.virtual_address + segment.mem_size, segment.virtual_address);
        }
    }
}

} // namespace
} // namespace domus::image::test
