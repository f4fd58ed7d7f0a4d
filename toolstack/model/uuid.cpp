// Unique identifiers of guests. Owner: model/. No lock.
#include "toolstack/model/uuid.hpp"

#include "toolstack/model/text.hpp"

#include <fmt/format.h>
#include <random>

namespace domus::model {

Uuid parse_uuid(std::string_view text) {
    static constexpr std::string_view digits = "0123456789abcdef0123456789ABCDEF";
    const bool dashes = text.find('-') != std::string_view::npos;
    Uuid uuid{};
    std::size_t nibbles = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool dash_here = dashes && (i == 8 || i == 13 || i == 18 || i == 23);
        if (dash_here && text[i] == '-')
            continue;
        const auto digit = digits.find(text[i]);
        if (dash_here || digit == std::string_view::npos || nibbles >= 32)
            throw ValueError(i, fmt::format("{} is not a UUID", in_quotes(text)),
                             "write 8-4-4-4-12 hexadecimal digits, or leave uuid= out");
        auto& byte = uuid[nibbles / 2];
        byte = std::uint8_t(byte << 4 | (digit & 15));
        ++nibbles;
    }
    if (nibbles != 32)
        throw ValueError(0, fmt::format("{} has {} hexadecimal digits, a UUID has 32", in_quotes(text), nibbles),
                         "leave uuid= out to have one made");
    if (uuid == Uuid{})
        throw ValueError(0, "the UUID is all zeros, which is dom0's", "leave uuid= out to have one made");
    return uuid;
}

std::string to_string(const Uuid& uuid) {
    std::string out;
    for (std::size_t i = 0; i < uuid.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out += '-';
        out += fmt::format("{:02x}", uuid[i]);
    }
    return out;
}

Uuid make_uuid() {
    std::random_device entropy;
    Uuid uuid;
    for (auto& byte : uuid)
        byte = std::uint8_t(entropy());
    uuid[6] = std::uint8_t(0x40 | (uuid[6] & 0x0f));
    uuid[8] = std::uint8_t(0x80 | (uuid[8] & 0x3f));
    return uuid;
}

} // namespace domus::model
