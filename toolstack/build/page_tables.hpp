// The page tables a PV guest starts on: 4 KiB mappings, tables mapped read-only. Pure: writes into memory it is given.
// Source: arch-x86/xen-x86_64.h and the AMD64 manual's long-mode tables; entries hold machine frames.
#pragma once

#include <cstdint>
#include <span>

#include "toolstack/build/layout.hpp"

namespace domus::build {

using Table = std::uint64_t[512];

/// Fills the tables of `layout`. `frames` is the guest's frame list (pseudo-physical to machine); `tables` and
/// `p2m_tables` are the memory of the two runs of the same name, which is wholly overwritten.
void fill_page_tables(const Layout& layout, std::span<const std::uint64_t> frames, std::span<Table> tables,
                      std::span<Table> p2m_tables);

} // namespace domus::build
