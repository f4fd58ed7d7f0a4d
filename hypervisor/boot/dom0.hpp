// The privileged domain, made from the boot modules.
#pragma once

#include "hypervisor/boot/boot_info.hpp"
#include "hypervisor/boot/options.hpp"

namespace domus::hv {

// Builds dom0 and leaves it ready to run; panics with what is wrong with the kernel or the memory if it cannot.
void build_dom0(const BootInfo&, const Options&);

} // namespace domus::hv
