// Xen's ELF notes of a kernel, as found and not yet judged. Internal to this folder; called by elf.cpp.
// Source: <xen/elfnote.h>; ELF-64 note format (name and descriptor padded to 4 bytes).
#pragma once

#include "hypervisor/boot/image/image.hpp"

namespace domus::image {

// Absent notes stay empty. Texts and feature sets are written straight into the Kernel.
struct Notes {
    unsigned count = 0; // Xen notes seen
    std::optional<u64> entry, hypercall_page, virt_base, paddr_offset, init_p2m, hv_start_low;
};

// Reads one block of notes, `length` bytes at `offset` of `elf`. Notes of other owners are skipped.
Expected<bool> read_notes(Bytes elf, u64 offset, u64 length, Notes& notes, Kernel& kernel);

} // namespace domus::image
