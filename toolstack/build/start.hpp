// What a PV guest finds at its first instruction: the start_info page, its registers, its grants, its shared info.
// Pure functions over memory they are given. Source: xen.h, arch-x86/xen.h, grant_table.h.
#pragma once

#include <cstdint>

#include <xen/xen.h>

#include <xen/grant_table.h>

#include "toolstack/build/build.hpp"
#include "toolstack/build/layout.hpp"

namespace domus::build {

/// Fills start_info. `frame_of` is the guest's frame list; `ramdisk_bytes` 0: none.
void fill_start_info(start_info_t& info, const Layout& layout, const Request& request,
                     std::span<const std::uint64_t> frames, std::uint64_t shared_info_frame,
                     std::uint64_t ramdisk_bytes);

/// Registers of vcpu 0: in the kernel, at its entry, on the boot stack, events masked.
vcpu_guest_context_t first_context(const Layout& layout, const image::Kernel& kernel,
                                   std::span<const std::uint64_t> frames);

/// Offers the xenstore and the console page to those who serve them, under the reserved references.
void offer_rings(std::span<grant_entry_v1_t> grants, const Request& request, const Result& result);

/// Every vcpu starts with event delivery masked.
void mask_events(shared_info_t& shared);

} // namespace domus::build
