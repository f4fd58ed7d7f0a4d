// See offload.hpp.
#include "backend-drivers/net/offload.hpp"

#include <algorithm>

#include <netinet/in.h>

namespace domus::net {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t mac_header = 14;
constexpr unsigned most_extensions = 8;

unsigned big16(Bytes bytes, std::size_t at) {
    return bytes[at] * 256u + bytes[at + 1];
}

/// The next protocol and where its header begins.
struct Next {
    unsigned protocol;
    std::size_t at;
};

/// Behind Ethernet and VLAN tags: EtherType and where its header begins.
std::optional<Next> network_layer(Bytes head) {
    constexpr unsigned tag = 0x8100, service_tag = 0x88a8;
    std::size_t at = mac_header;
    for (unsigned tags = 0; at <= head.size(); ++tags, at += 4) {
        const unsigned type = big16(head, at - 2);
        if ((type != tag && type != service_tag) || tags == 2) {
            return Next{type, at};
        }
    }
    return std::nullopt;
}

std::optional<Next> behind_ipv4(Bytes head, std::size_t at) {
    if (at + 20 > head.size() || head[at] >> 4 != 4) {
        return std::nullopt;
    }
    const std::size_t length = std::size_t{head[at]} % 16 * 4;
    const bool fragment = (big16(head, at + 6) & 0x3fff) != 0; // more fragments, or not the first
    if (length < 20 || fragment) {
        return std::nullopt;
    }
    return Next{head[at + 9], at + length};
}

std::optional<Next> behind_ipv6(Bytes head, std::size_t at) {
    if (at + 40 > head.size() || head[at] >> 4 != 6) {
        return std::nullopt;
    }
    Next next{head[at + 6], at + 40};
    for (unsigned count = 0; count < most_extensions; ++count) {
        const bool extension =
            next.protocol == IPPROTO_HOPOPTS || next.protocol == IPPROTO_ROUTING || next.protocol == IPPROTO_DSTOPTS;
        if (!extension) {
            return next;
        }
        if (next.at + 2 > head.size()) {
            return std::nullopt;
        }
        next = {head[next.at], next.at + (head[next.at + 1] + std::size_t{1}) * 8};
    }
    return std::nullopt;
}

/// One's complement sum, folded; words are big-endian, an odd last byte is the upper half of its word.
std::uint32_t sum_of(Bytes bytes) {
    std::uint64_t sum = 0;
    std::size_t at = 0;
    for (; at + 1 < bytes.size(); at += 2) {
        sum += big16(bytes, at);
    }
    if (at < bytes.size()) {
        sum += bytes[at] * 256u;
    }
    while (sum >> 16 != 0) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<std::uint32_t>(sum);
}

} // namespace

std::optional<Transport> find_transport(Bytes head) {
    constexpr unsigned ipv4 = 0x0800, ipv6 = 0x86dd;
    const auto network = network_layer(head);
    if (!network || (network->protocol != ipv4 && network->protocol != ipv6)) {
        return std::nullopt;
    }
    const bool four = network->protocol == ipv4;
    const auto next = four ? behind_ipv4(head, network->at) : behind_ipv6(head, network->at);
    if (!next || (next->protocol != IPPROTO_TCP && next->protocol != IPPROTO_UDP)) {
        return std::nullopt;
    }
    const bool tcp = next->protocol == IPPROTO_TCP;
    const std::size_t least = tcp ? 20 : 8;
    if (next->at + least > head.size()) {
        return std::nullopt;
    }
    const std::size_t length = tcp ? std::size_t{head[next->at + 12]} / 16 * 4 : least;
    if (length < least || next->at + length > head.size()) {
        return std::nullopt;
    }
    return Transport{.start = static_cast<std::uint16_t>(next->at),
                     .offset = static_cast<std::uint16_t>(tcp ? 16 : 6),
                     .headers_end = static_cast<std::uint16_t>(next->at + length),
                     .ip_version = static_cast<std::uint8_t>(four ? 4 : 6),
                     .tcp = tcp};
}

std::optional<WireHeader> to_wire(const Offload& offload, Bytes head, std::size_t size) {
    WireHeader header{};
    if (!offload.checksum_blank) {
        return offload.gso == Gso::None ? std::optional(header) : std::nullopt;
    }
    const auto transport = find_transport(head.first(std::min(head.size(), size)));
    if (!transport) {
        return std::nullopt;
    }
    header.flags = wire::needs_checksum;
    header.csum_start = transport->start;
    header.csum_offset = transport->offset;
    if (offload.gso == Gso::None) {
        return header;
    }
    const unsigned version = offload.gso == Gso::Tcp4 ? 4 : 6;
    if (!transport->tcp || transport->ip_version != version || offload.gso_size == 0) {
        return std::nullopt;
    }
    header.gso_type = version == 4 ? wire::gso_tcp4 : wire::gso_tcp6;
    header.gso_size = offload.gso_size;
    header.hdr_len = transport->headers_end;
    return header;
}

std::optional<Offload> from_wire(const WireHeader& header) {
    Offload offload;
    offload.checksum_blank = (header.flags & wire::needs_checksum) != 0;
    offload.validated = (header.flags & (wire::needs_checksum | wire::data_valid)) != 0;
    switch (header.gso_type & ~wire::gso_ecn) {
    case wire::gso_none:
        return offload;
    case wire::gso_tcp4:
        offload.gso = Gso::Tcp4;
        break;
    case wire::gso_tcp6:
        offload.gso = Gso::Tcp6;
        break;
    default:
        return std::nullopt;
    }
    offload.gso_size = header.gso_size;
    return offload.gso_size != 0 ? std::optional(offload) : std::nullopt;
}

bool complete_checksum(const WireHeader& header, std::span<std::uint8_t> packet) {
    const std::size_t field = std::size_t{header.csum_start} + header.csum_offset;
    if (header.csum_start > packet.size() || field + 2 > packet.size()) {
        return false;
    }
    const auto sum = static_cast<std::uint16_t>(~sum_of(packet.subspan(header.csum_start)));
    const std::uint16_t value = sum != 0 ? sum : 0xffff; // zero would mean "none" in UDP; the two are equal elsewhere
    packet[field] = static_cast<std::uint8_t>(value >> 8);
    packet[field + 1] = static_cast<std::uint8_t>(value & 0xff);
    return true;
}

} // namespace domus::net
