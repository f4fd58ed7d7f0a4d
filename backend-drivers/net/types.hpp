// What both directions of a network queue speak of: slots of the netif rings, offloads, limits. Values only; no lock.
// Numbers and structures are those of xen/io/netif.h; a slot is judged on a copy only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <xen/grant_table.h>
#include <xen/io/netif.h>

#include "backend-drivers/common/ring.hpp"

namespace domus::net {

using backend::RingError;
using backend::RingIndex;

using Mac = std::array<std::uint8_t, 6>;

inline constexpr std::size_t page_size = 4096;
/// Slots with data of one packet from the guest (netif.h calls it XEN_NETIF_NR_SLOTS_MIN: every backend takes 18).
inline constexpr unsigned most_fragments = 18;
/// Slots of one chain, with extras, after which a frontend is taken to have lost its way. Between this and
/// most_fragments a packet is refused alone.
inline constexpr unsigned longest_chain = 64;
/// Ethernet, at most two VLAN tags, and what an IP packet can be.
inline constexpr std::size_t longest_packet = 65535;
inline constexpr std::size_t shortest_packet = 14;

/// One slot of the transmit ring as it came: a request or an extra info.
struct TxSlot {
    netif_tx_request_t request;

    netif_extra_info_t extra() const;
};
static_assert(sizeof(TxSlot) == 12);

using TxRing = backend::BackRing<TxSlot, netif_tx_response_t>;
using RxRing = backend::BackRing<netif_rx_request_t, netif_rx_response_t>;
static_assert(sizeof(netif_extra_info_t) == 8 && sizeof(netif_rx_response_t) == 8 && sizeof(netif_tx_response_t) == 4);
static_assert(TxRing::entries_in(page_size) == 256 && RxRing::entries_in(page_size) == 256);

/// Segmentation that the next one on the way may leave to somebody else.
enum class Gso : std::uint8_t { None = 0, Tcp4 = 1, Tcp6 = 2 };

/// What of a packet's work is still to be done, in the terms of both directions.
struct Offload {
    bool checksum_blank = false; ///< the TCP or UDP checksum holds the pseudo header's sum only
    bool validated = false;      ///< somebody has checked the checksum, or there was no wire to spoil it
    Gso gso = Gso::None;
    std::uint16_t gso_size = 0; ///< payload bytes of each segment

    bool operator==(const Offload&) const = default;
};

/// What came of one turn at a ring.
enum class Turn {
    More,      ///< a full batch was served; there may be more at once
    Idle,      ///< the side that is read from (ring or wire) has nothing
    Starved,   ///< the receive ring has no room for the next packet
    Throttled, ///< the rate limit holds the next packet back
};

} // namespace domus::net
