// Sizes of memory as people write them. No lock. Pure.
#include "toolstack/cli/size.hpp"

#include <cctype>
#include <fmt/format.h>
#include <stdexcept>

namespace domus::cli {

std::uint64_t parse_memory_kib(const std::string& text) {
    std::uint64_t value = 0;
    std::size_t i = 0;
    for (; i < text.size() && i < 12 && std::isdigit(static_cast<unsigned char>(text[i])); ++i)
        value = value * 10 + std::uint64_t(text[i] - '0');
    std::string unit = text.substr(i);
    for (auto& c : unit)
        c = char(std::tolower(static_cast<unsigned char>(c)));
    if (unit.size() == 2 && unit[1] == 'b')
        unit.pop_back();
    const std::uint64_t scale = unit == "k"                   ? 1
                                : unit.empty() || unit == "m" ? 1024
                                : unit == "g"                 ? 1024 * 1024
                                : unit == "t"                 ? 1024ull * 1024 * 1024
                                                              : 0;
    if (i == 0 || scale == 0 || value == 0 || value > (1ull << 50) / scale)
        throw std::runtime_error(
            fmt::format("\"{}\" is not a size of memory; write MiB (512) or a unit (512m, 2g)", text));
    return value * scale;
}

} // namespace domus::cli
