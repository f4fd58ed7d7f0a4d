// The line a domain is writing through console_io, until its newline comes. Owner: Domain. Lock: Rank::Console
// (core/console_io.cpp).
#pragma once

#include "hypervisor/base/types.hpp"

#include <array>

namespace domus::hv {

struct ConsoleLine {
    std::array<char, 120> text{};
    u8 used = 0;
};

} // namespace domus::hv
