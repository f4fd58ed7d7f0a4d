// Kernel images: what is in a file, how to unpack it, what its ELF notes ask for. The one public header of this folder.
// Pure functions over spans: no global state, no allocation but from the caller's arena, no exceptions.
// Called by the hypervisor's dom0 builder (freestanding) and by the domU builder (hosted). Every byte is hostile.
//
// Use: size = unpacked_size(file); scratch = scratch_size(file); get memory for both; elf = unpack(file, out, scratch);
// kernel = parse_elf(elf). The spans in Kernel point into `elf`.
#pragma once

#include "hypervisor/boot/image/expected.hpp"

#include <optional>
#include <span>

namespace domus::image {

using Bytes = std::span<const u8>;

// No kernel unpacks to more; a header that claims more is damaged or hostile.
inline constexpr u64 max_unpacked_size = u64{512} << 20;
// Memory a decoder may ask for (xz: dictionary; Debian uses 32 MiB).
inline constexpr u64 max_scratch_size = u64{160} << 20;

// Bytes unpack() will write. For a plain ELF file: the file's own size.
// Accepts: bzImage with an xz, zstd, lz4 (legacy), gzip or plain ELF payload; the same compressions around a bare ELF
// (gzip only, as the others do not carry a size); plain ELF. Errors name what is not so and at which offset.
Expected<std::size_t> unpacked_size(Bytes file);

// Bytes of scratch memory unpack() needs for this file, at most max_scratch_size; 0 for a plain ELF.
Expected<std::size_t> scratch_size(Bytes file);

// Unpacks into `out` (at least unpacked_size() bytes) with `scratch` (at least scratch_size() bytes; any alignment).
// Returns the ELF image: a part of `out`, or of `file` itself where nothing is packed. `out` and `scratch` may be
// partly written on error. `file` must not overlap with them.
Expected<Bytes> unpack(Bytes file, std::span<u8> out, std::span<u8> scratch);

// One piece to load. Addresses in bytes; [physical, physical + mem_size) is in the guest's pseudo-physical space.
struct Segment {
    u64 file_offset = 0;
    u64 file_size = 0; // the rest up to mem_size is zero
    u64 mem_size = 0;
    u64 virtual_address = 0; // virt_base + physical_address: where it is mapped at the start
    u64 physical_address = 0;
};

inline constexpr unsigned max_segments = 16;

// Text from an ELF note, NUL-terminated, cut to fit; unprintable bytes are shown as '?'.
struct NoteText {
    char text[32] = {};
};

// What a PV kernel says about itself. Sources: <xen/elfnote.h>, <xen/features.h>, ELF-64.
struct Kernel {
    u64 entry = 0;        // XEN_ELFNOTE_ENTRY, a virtual address inside a loaded segment
    u64 virt_base = 0;    // XEN_ELFNOTE_VIRT_BASE, default 0
    u64 paddr_offset = 0; // XEN_ELFNOTE_PADDR_OFFSET, default 0; already taken off physical_address
    u64 virt_start = 0;   // lowest and one past the highest byte loaded
    u64 virt_end = 0;
    std::optional<u64> hypercall_page; // page-aligned virtual address inside a loaded segment
    std::optional<u64> init_p2m;       // where the p2m list shall be mapped, page-aligned
    std::optional<u64> hv_start_low;   // lowest address the hypervisor's hole may start at
    bool mod_start_pfn = false;        // the RAM disk may be handed over unmapped, by frame number
    bool suspend_cancel = false;
    u32 features_required = 0;    // bits 1 << XENFEAT_*, those with '!' in XEN_ELFNOTE_FEATURES
    u32 features_supported = 0;   // all of XEN_ELFNOTE_FEATURES and XEN_ELFNOTE_SUPPORTED_FEATURES
    bool features_listed = false; // neither note present: an old kernel that says nothing
    NoteText guest_os, guest_version, xen_version, loader;
    unsigned segment_count = 0;
    Segment segments[max_segments];

    std::span<const Segment> loaded() const { return {segments, segment_count}; }
};

// Reads the headers and notes of an ELF64 PV kernel and judges them. Everything returned is inside `elf`, does not
// overlap, and does not wrap around.
Expected<Kernel> parse_elf(Bytes elf);

} // namespace domus::image
