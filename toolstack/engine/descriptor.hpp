// The file descriptor that closes itself, and errno as text. Owner: whoever opened it. No lock.
#pragma once

#include <cerrno>
#include <cstring>
#include <string>

#include "hypervisor/client/descriptor.hpp"

namespace domus::engine {

using client::Descriptor;

inline std::string errno_text(int error = errno) {
    return std::strerror(error);
}

} // namespace domus::engine
