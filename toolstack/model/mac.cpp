// Ethernet addresses of guests. Owner: model/. No lock.
#include "toolstack/model/mac.hpp"

#include "toolstack/model/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <random>

namespace domus::model {

namespace {

int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

} // namespace

Mac parse_mac(std::string_view text) {
    const auto fail = [&](std::size_t at) {
        throw ValueError(at, fmt::format("{} is not a MAC address", in_quotes(text)),
                         "write six pairs of hexadecimal digits, like 00:16:3e:12:34:56, or leave mac= out");
    };
    Mac mac{};
    for (std::size_t i = 0; i < mac.size(); ++i) {
        const std::size_t at = i * 3;
        const int high = at < text.size() ? hex_digit(text[at]) : -1;
        const int low = at + 1 < text.size() ? hex_digit(text[at + 1]) : -1;
        if (high < 0 || low < 0 || (i > 0 && text[at - 1] != ':'))
            fail(std::min(at, text.size()));
        mac[i] = std::uint8_t(high * 16 + low);
    }
    if (text.size() != 17)
        fail(17);
    if (mac[0] & 1)
        throw ValueError(0, fmt::format("{} is a multicast address, no network card can have it", in_quotes(text)),
                         "the first pair must be even, like 00:16:3e:12:34:56");
    if (mac == Mac{})
        throw ValueError(0, "the MAC address is all zeros", "leave mac= out to have one made");
    return mac;
}

std::string to_string(const Mac& mac) {
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

Mac make_mac() {
    std::random_device entropy;
    const auto bits = entropy();
    return {0x00, 0x16, 0x3e, std::uint8_t(bits >> 16 & 0x7f), std::uint8_t(bits >> 8), std::uint8_t(bits)};
}

} // namespace domus::model
