// I/O ports that are the hypervisor's own.
#pragma once

#include "hypervisor/base/types.hpp"

namespace domus::hv {

// Start-up: the serial line that the hypervisor prints on (eight ports), so that no domain reaches it.
void set_console_ports(u16 first);

} // namespace domus::hv
