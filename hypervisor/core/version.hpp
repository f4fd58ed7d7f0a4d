// __HYPERVISOR_xen_version: who the hypervisor is and what a guest may count on. Source: <xen/version.h>,
// <xen/features.h>. Called by the hypercall table; set_command_line by the start-up code. No lock: fixed after
// start-up.
#pragma once

#include "hypervisor/core/hypercall.hpp"

namespace domus::hv {

// Every sub-operation answers >= 0 or an error: Err::Fault, Err::NoSys (unknown), Err::Perm (dom0 only).
Result<i64> xen_version(Call&, i32 command, GuestPtr<void> argument);

// Start-up: what XENVER_commandline answers. Copied; cut off at 1023 bytes.
void set_command_line(std::string_view text);
std::string_view command_line();

inline constexpr u32 xen_major = 4, xen_minor = 17; // the interface that is spoken
inline constexpr std::string_view extra_version = ".0-domus";

} // namespace domus::hv
