// The hypervisor through Xen's stable libraries and /dev/xen. See platform.hpp.
#pragma once

#include "xenstore-lite/server/platform.hpp"

namespace domus::xenstore::server {

/// Opens the devices; throws, naming the one that is missing.
std::unique_ptr<Platform> open_xen_platform();

} // namespace domus::xenstore::server
