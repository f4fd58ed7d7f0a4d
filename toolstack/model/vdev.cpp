// Virtual disk names and numbers, after xen-vbd-interface(7). Owner: model/. No lock. Pure.
#include "toolstack/model/vdev.hpp"

#include "toolstack/model/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

namespace domus::model {

namespace {

constexpr std::uint32_t largest_number = 1u << 29; // the extended form: 1 << 28 | disk << 8 | partition

struct Place {
    std::uint32_t disk;
    std::uint32_t partition; // 0: the whole disk
};

std::optional<std::uint32_t> small_number(std::string_view text) {
    if (text.empty() || text.size() > 9 || (text.size() > 1 && text[0] == '0'))
        return {};
    std::uint32_t value = 0;
    for (char c : text) {
        if (c < '0' || c > '9')
            return {};
        value = value * 10 + std::uint32_t(c - '0');
    }
    return value;
}

/// "b3" (base-26 letters, then a number) after a prefix such as xvd.
std::optional<Place> lettered(std::string_view text) {
    std::uint32_t disk = 0;
    std::size_t i = 0;
    for (; i < text.size() && text[i] >= 'a' && text[i] <= 'z'; ++i) {
        if (i >= 4)
            return {};
        disk = disk * 26 + std::uint32_t(text[i] - 'a') + 1;
    }
    if (i == 0)
        return {};
    if (i == text.size())
        return Place{disk - 1, 0};
    const auto partition = small_number(text.substr(i));
    if (!partition || *partition == 0)
        return {};
    return Place{disk - 1, *partition};
}

/// "d3p1" or "d3".
std::optional<Place> numbered(std::string_view text) {
    const auto p = text.find('p');
    const auto disk = small_number(text.substr(0, p));
    const auto partition =
        p == std::string_view::npos ? std::optional<std::uint32_t>(0) : small_number(text.substr(p + 1));
    if (!disk || !partition)
        return {};
    return Place{*disk, *partition};
}

/// "51712" or "0xca00".
std::optional<std::uint32_t> plain_number(std::string_view text) {
    if (!text.starts_with("0x"))
        return small_number(text);
    try {
        return std::uint32_t(std::min<unsigned long long>(parse_number(text, "number"), largest_number));
    } catch (const ValueError&) {
        return {};
    }
}

std::uint32_t xvd_number(Place at, std::string_view vdev) {
    if (at.disk < 16 && at.partition < 16)
        return 202u << 8 | at.disk << 4 | at.partition;
    if (at.disk < (1u << 20) && at.partition < 256)
        return 1u << 28 | at.disk << 8 | at.partition;
    throw ValueError(0, fmt::format("disk name {} is out of range", in_quotes(vdev)));
}

std::string usual_name(std::uint32_t number) {
    const auto letters = [](std::uint32_t disk) {
        std::string out;
        for (++disk; disk > 0; disk = (disk - 1) / 26)
            out.insert(out.begin(), char('a' + (disk - 1) % 26));
        return out;
    };
    const auto named = [&](std::string_view prefix, std::uint32_t disk, std::uint32_t partition) {
        return fmt::format("{}{}{}", prefix, letters(disk), partition ? std::to_string(partition) : "");
    };
    if (number >> 28 == 1)
        return named("xvd", number >> 8 & 0xfffff, number & 0xff);
    switch (number >> 8) {
    case 202:
        return named("xvd", number >> 4 & 15, number & 15);
    case 8:
        return named("sd", number >> 4 & 15, number & 15);
    case 3:
        return named("hd", number >> 6 & 1, number & 63);
    case 22:
        return named("hd", 2 + (number >> 6 & 1), number & 63);
    default:
        return std::to_string(number);
    }
}

} // namespace

std::uint32_t vdev_number(std::string_view vdev) {
    if (vdev.starts_with("xvd"))
        if (auto at = lettered(vdev.substr(3)))
            return xvd_number(*at, vdev);
    if (vdev.starts_with("sd"))
        if (auto at = lettered(vdev.substr(2)); at && at->disk < 16 && at->partition < 16)
            return 8u << 8 | at->disk << 4 | at->partition;
    if (vdev.starts_with("hd"))
        if (auto at = lettered(vdev.substr(2)); at && at->disk < 4 && at->partition < 64)
            return (at->disk < 2 ? 3u : 22u) << 8 | (at->disk & 1) << 6 | at->partition;
    if (vdev.starts_with("d"))
        if (auto at = numbered(vdev.substr(1)))
            return xvd_number(*at, vdev);
    if (auto number = plain_number(vdev); number && *number > 0 && *number < largest_number)
        return *number;
    throw ValueError(0, fmt::format("{} is not the name of a guest's disk", in_quotes(vdev)),
                     "names are xvda to xvdp and on, with a partition number if wanted: xvda, xvdb1");
}

std::string vdev_name(std::uint32_t number) {
    const std::string name = usual_name(number);
    try {
        if (vdev_number(name) == number)
            return name;
    } catch (const ValueError&) {
        // Beyond what letters can say.
    }
    return std::to_string(number);
}

} // namespace domus::model
