// Offloads of the netif protocol to and from the virtio-net header that a tap device speaks (linux/virtio_net.h).
// Pure. Called by the queues. Packet bytes are a private copy, so they may be read as often as needed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "backend-drivers/net/types.hpp"

namespace domus::net {

/// struct virtio_net_hdr of linux/virtio_net.h (which C++ cannot include), in the machine's byte order.
struct WireHeader {
    std::uint8_t flags, gso_type;
    std::uint16_t hdr_len, gso_size, csum_start, csum_offset;
};
static_assert(sizeof(WireHeader) == 10);

/// Its flags and segmentation types, VIRTIO_NET_HDR_F_* and VIRTIO_NET_HDR_GSO_* there.
namespace wire {
inline constexpr std::uint8_t needs_checksum = 1, data_valid = 2;
inline constexpr std::uint8_t gso_none = 0, gso_tcp4 = 1, gso_udp = 3, gso_tcp6 = 4, gso_ecn = 0x80;
} // namespace wire

/// How much of a packet's start the functions below look at: Ethernet, VLAN tags, IPv6 with extensions, TCP.
inline constexpr std::size_t head_size = 256;

/// Where a packet's TCP or UDP checksum stands. Found in its headers, which a guest wrote.
struct Transport {
    std::uint16_t start = 0;       ///< of the TCP or UDP header, from the packet's start
    std::uint16_t offset = 0;      ///< of the checksum in it
    std::uint16_t headers_end = 0; ///< where data begins
    std::uint8_t ip_version = 0;
    bool tcp = false;
};
/// Nothing when it is no whole TCP or UDP header over IPv4 or IPv6, or a fragment.
std::optional<Transport> find_transport(std::span<const std::uint8_t> head);

/// The header for a packet of `size` bytes from the guest, of which `head` are the first. Nothing when what the guest
/// wants done cannot be done with this packet.
std::optional<WireHeader> to_wire(const Offload& offload, std::span<const std::uint8_t> head, std::size_t size);

/// What a packet from the tap has still to be done. Nothing for what was not asked for (TUNSETOFFLOAD).
std::optional<Offload> from_wire(const WireHeader& header);

/// Puts in the checksum a packet from the tap lacks, for a frontend that cannot. False: the header lies.
bool complete_checksum(const WireHeader& header, std::span<std::uint8_t> packet);

} // namespace domus::net
