// Descriptor tables of a vcpu: frames typed Segments and mapped in the vcpu's window.
#pragma once

#include "hypervisor/base/result.hpp"

#include <span>

namespace domus::hv {

struct Vcpu;

// Replace the guest's part of the GDT: `frames` are its machine frames (14 at most). Err::Inval: the log names the
// frame.
Result<void> install_gdt(Vcpu&, std::span<const u64> frames, u32 entries);
// Give up both tables' references (the vcpu's domain dies, or its context is replaced; not running).
void drop_descriptor_tables(Vcpu&);

} // namespace domus::hv
