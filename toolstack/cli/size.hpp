// Sizes of memory as people write them. Owner: the command line. No lock. Pure.
#pragma once

#include <cstdint>
#include <string>

namespace domus::cli {

/// "512" (MiB, as xl takes it), "512m", "2g", "4096k" in KiB. Throws std::runtime_error.
std::uint64_t parse_memory_kib(const std::string& text);

} // namespace domus::cli
