// ELF note reader; see notes.hpp. Pure functions over a hostile file.
#include "hypervisor/boot/image/notes.hpp"

#include "hypervisor/boot/image/view.hpp"

#include <elf.h>
#include <xen/elfnote.h>
#include <xen/features.h>

namespace domus::image {
namespace {

constexpr u64 max_notes_bytes = u64{64} << 10;

struct FeatureName {
    const char* name;
    unsigned bit;
};

// Spelling of <xen/features.h> without XENFEAT_. Names of other architectures and of HVM are known, so that a
// kernel's list may contain them.
constexpr FeatureName feature_names[] = {
    {"writable_page_tables", XENFEAT_writable_page_tables},
    {"writable_descriptor_tables", XENFEAT_writable_descriptor_tables},
    {"auto_translated_physmap", XENFEAT_auto_translated_physmap},
    {"supervisor_mode_kernel", XENFEAT_supervisor_mode_kernel},
    {"pae_pgdir_above_4gb", XENFEAT_pae_pgdir_above_4gb},
    {"mmu_pt_update_preserve_ad", XENFEAT_mmu_pt_update_preserve_ad},
    {"highmem_assist", XENFEAT_highmem_assist},
    {"gnttab_map_avail_bits", XENFEAT_gnttab_map_avail_bits},
    {"hvm_callback_vector", XENFEAT_hvm_callback_vector},
    {"hvm_safe_pvclock", XENFEAT_hvm_safe_pvclock},
    {"hvm_pirqs", XENFEAT_hvm_pirqs},
    {"dom0", XENFEAT_dom0},
    {"grant_map_identity", 12}, // only in a comment of the header
    {"memory_op_vnode_supported", XENFEAT_memory_op_vnode_supported},
    {"linux_rsdp_unrestricted", XENFEAT_linux_rsdp_unrestricted},
};

// Text up to its NUL or the end of the note.
Bytes text_of(Bytes value) {
    u64 length = 0;
    while (length < value.size() && value[length] != 0)
        ++length;
    return value.first(length);
}

void copy_text(Bytes value, NoteText& into) {
    const auto text = text_of(value);
    u64 at = 0;
    for (; at < text.size() && at + 1 < sizeof into.text; ++at)
        into.text[at] = text[at] >= 0x20 && text[at] < 0x7f ? static_cast<char>(text[at]) : '?';
    into.text[at] = 0;
}

bool equals(Bytes text, const char* name) {
    u64 at = 0;
    for (; at < text.size() && name[at] != 0; ++at)
        if (text[at] != static_cast<u8>(name[at]))
            return false;
    return at == text.size() && name[at] == 0;
}

std::optional<u32> feature_bit(Bytes name) {
    for (const auto& known : feature_names)
        if (equals(name, known.name))
            return u32{1} << known.bit;
    return std::nullopt;
}

// "name|!name|..."; a name that is not known is fatal only where it is required.
Expected<bool> read_features(Bytes value, Kernel& kernel) {
    auto text = text_of(value);
    kernel.features_listed = true;
    while (!text.empty()) {
        u64 length = 0;
        while (length < text.size() && text[length] != '|')
            ++length;
        auto name = text.first(length);
        text = text.subspan(length < text.size() ? length + 1 : length);
        const bool required = !name.empty() && name[0] == '!';
        if (required)
            name = name.subspan(1);
        const auto bit = feature_bit(name);
        if (required && !bit) {
            NoteText shown;
            copy_text(name, shown);
            return fail("ELF note XEN_ELFNOTE_FEATURES requires \"", shown.text, "\", which is not known here");
        }
        kernel.features_supported |= bit.value_or(0);
        kernel.features_required |= required ? *bit : 0;
    }
    return true;
}

Expected<u64> number(Bytes value, const char* name) {
    if (value.size() == 8)
        return load<u64>(value, 0);
    if (value.size() == 4)
        return u64{load<u32>(value, 0)};
    return fail("ELF note ", name, " is a number and must have 4 or 8 bytes, but has ", u64{value.size()});
}

Expected<bool> read_number(u32 type, Bytes value, Notes& notes, Kernel& kernel) {
    switch (type) {
    case XEN_ELFNOTE_ENTRY:
        notes.entry = TRY(number(value, "XEN_ELFNOTE_ENTRY"));
        break;
    case XEN_ELFNOTE_HYPERCALL_PAGE:
        notes.hypercall_page = TRY(number(value, "XEN_ELFNOTE_HYPERCALL_PAGE"));
        break;
    case XEN_ELFNOTE_VIRT_BASE:
        notes.virt_base = TRY(number(value, "XEN_ELFNOTE_VIRT_BASE"));
        break;
    case XEN_ELFNOTE_PADDR_OFFSET:
        notes.paddr_offset = TRY(number(value, "XEN_ELFNOTE_PADDR_OFFSET"));
        break;
    case XEN_ELFNOTE_HV_START_LOW:
        notes.hv_start_low = TRY(number(value, "XEN_ELFNOTE_HV_START_LOW"));
        break;
    case XEN_ELFNOTE_INIT_P2M:
        notes.init_p2m = TRY(number(value, "XEN_ELFNOTE_INIT_P2M"));
        break;
    case XEN_ELFNOTE_MOD_START_PFN:
        kernel.mod_start_pfn = TRY(number(value, "XEN_ELFNOTE_MOD_START_PFN")) != 0;
        break;
    case XEN_ELFNOTE_SUSPEND_CANCEL:
        kernel.suspend_cancel = TRY(number(value, "XEN_ELFNOTE_SUSPEND_CANCEL")) != 0;
        break;
    case XEN_ELFNOTE_SUPPORTED_FEATURES:
        kernel.features_listed = true;
        kernel.features_supported |= static_cast<u32>(TRY(number(value, "XEN_ELFNOTE_SUPPORTED_FEATURES")));
        break;
    default: // PAE_MODE, BSD_SYMTAB, L1_MFN_VALID, PHYS32_ENTRY and newer: nothing for a 64-bit PV guest to say
        break;
    }
    return true;
}

Expected<bool> read_note(u32 type, Bytes value, Notes& notes, Kernel& kernel) {
    ++notes.count;
    switch (type) {
    case XEN_ELFNOTE_GUEST_OS:
        copy_text(value, kernel.guest_os);
        return true;
    case XEN_ELFNOTE_GUEST_VERSION:
        copy_text(value, kernel.guest_version);
        return true;
    case XEN_ELFNOTE_XEN_VERSION:
        copy_text(value, kernel.xen_version);
        return true;
    case XEN_ELFNOTE_LOADER:
        copy_text(value, kernel.loader);
        return true;
    case XEN_ELFNOTE_FEATURES:
        return read_features(value, kernel);
    default:
        return read_number(type, value, notes, kernel);
    }
}

} // namespace

Expected<bool> read_notes(Bytes elf, u64 offset, u64 length, Notes& notes, Kernel& kernel) {
    if (!fits(offset, length, elf.size()))
        return fail("ELF notes at offset ", Hex{offset}, " with ", length, " bytes lie outside the file");
    if (length > max_notes_bytes)
        return fail("ELF notes at offset ", Hex{offset}, " have ", length, " bytes: the file is damaged");
    const u64 end = offset + length;
    while (fits(offset, sizeof(Elf64_Nhdr), end)) {
        const auto header = load<Elf64_Nhdr>(elf, offset);
        const u64 name = offset + sizeof header;
        const u64 value = name + round_up(header.n_namesz, 4);
        if (!fits(value, header.n_descsz, end))
            return fail("ELF note at offset ", Hex{offset}, " is longer than the notes it is in");
        const bool ours = header.n_namesz == 4 && __builtin_memcmp(elf.data() + name, "Xen", 4) == 0;
        if (ours)
            TRY(read_note(header.n_type, elf.subspan(value, header.n_descsz), notes, kernel));
        offset = value + round_up(header.n_descsz, 4);
    }
    return true;
}

} // namespace domus::image
