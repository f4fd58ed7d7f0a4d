// What the frame table asks of the page-table code: check a table's entries and take the references they stand for,
// or give those back. Implemented by pv/page_types.cpp; called by core/frame_table.cpp with the frame's type locked.
#pragma once

#include "hypervisor/core/frame_table.hpp"

namespace domus::hv {

// Take the references of entries [progress, end), counting `progress` up. Err::Restart: stopped, `progress` says
// where. Another error: entry `progress` was refused.
Result<void> validate_entries(Mfn table, FrameType level, u32& progress);

// Give back those of entries [0, progress), counting down. Err::Restart: stopped, call again with what is left.
Result<void> release_entries(Mfn table, FrameType level, u32& progress);

} // namespace domus::hv
