// One queue of a network card: its two rings, its port, and the pages that stay lent to the backend. Frames are copied
// to and from them, piece by piece. Owner: NetworkCard. No lock: one vcpu. What the backend says is copied once and
// checked.
#pragma once

#include "frontend-drivers/guestkit/drivers/lent_pages.hpp"
#include "frontend-drivers/guestkit/drivers/ring.hpp"

#include <xen/io/netif.h>

#include <span>

namespace domus::guest {

// What is left to do with a frame, or was not done by who sent it.
struct Offload {
    u16 segment = 0;                 // bytes of TCP's data in each packet that is to be made of it; 0: it is one packet
    bool ipv6 : 1 = false;           // which of the two TCPs that is, or whose checksum is blank
    bool checksum_blank : 1 = false; // TCP's or UDP's checksum covers the pseudo header only
    bool checked : 1 = false;        // received: the checksum is known to be right
};

constexpr u32 net_most_buffers = 64; // pages for either way: as many as bits in a u64

class NetQueue {
public:
    explicit NetQueue(Kit& kit) : event(kit.platform.tasks), kit_(kit) {}

    // Rings, port and so many buffers for each way (a power of two).
    Result<void> open(u16 backend, u32 buffers);
    // Busy: the backend keeps a page, which is not used again.
    Result<void> close();

    static u32 pieces(usize bytes) { return static_cast<u32>((bytes + page_size - 1) / page_size); }
    bool has_room(u32 count) const { return tx_free_count_ >= count && tx_.size() - tx_.in_flight() > count; }
    void send(std::span<const u8> frame, const Offload& how);

    u32 frames() const { return frames_; } // received, whole
    usize receive(std::span<u8> to, Offload& how);

    // Looks at both rings; false: the backend broke the protocol.
    bool take();
    // Shows the backend what is new.
    void push();
    // Asks for an event. True: there is something already.
    bool arm();

    // Writes which pages packets lie in; how many there are.
    u32 name_pages(xen_netif_gref* to) const;

    u32 tx_reference() const { return tx_ring_.reference(0); }
    u32 rx_reference() const { return rx_ring_.reference(0); }
    u32 port() const { return port_; }
    u64 dropped() const { return dropped_; }

    Event event;

private:
    // A piece of a received frame; its offload stands with the first.
    struct Piece {
        u16 offset, length;
        u8 buffer;
        bool last;
        Offload how;
    };

    void post(u8 buffer);
    bool take_sent();
    bool take_received();
    void take_piece(u8 buffer, const netif_rx_response_t& answer);
    void take_extra(const netif_extra_info_t& extra);
    void drop_frame();

    Kit& kit_;
    FrontRing<netif_tx_request_t, netif_tx_response_t> tx_;
    FrontRing<netif_rx_request_t, netif_rx_response_t> rx_;
    LentPages<1> tx_ring_, rx_ring_;
    LentPages<net_most_buffers> tx_pages_, rx_pages_;
    u32 buffers_ = 0, port_ = 0;
    u32 tx_free_count_ = 0;
    u64 tx_free_ = 0;                  // a bit for each page that nothing is under way in
    u8 posted_[net_most_buffers] = {}; // which buffer stands at a place of the receive ring: there are no more out
    Piece pieces_[net_most_buffers];   // received, from first_ on; the last `partial_` of them lack an end
    u32 first_ = 0, count_ = 0, partial_ = 0, frames_ = 0;
    Offload coming_; // of the frame whose end is not here yet
    bool extra_follows_ = false, more_follows_ = false, bad_ = false;
    u64 dropped_ = 0;
};

} // namespace domus::guest
