// A network card: the frontend of netif (<xen/io/netif.h>), one queue, one event channel, whole frames in one slot each
// (no scatter, no offloads). Works with Linux's netback and domus-netd. Owner: the guest. No lock: one vcpu.
// Frames are copied to and from pages that stay lent to the backend until close().
#pragma once

#include "frontend-drivers/guestkit/drivers/frontend.hpp"
#include "frontend-drivers/guestkit/drivers/ring.hpp"

#include <xen/io/netif.h>

#include <array>
#include <span>

namespace domus::guest {

using MacAddress = std::array<u8, 6>;

class NetworkCard {
public:
    static constexpr usize longest_frame = 1514;

    // The card's id in xenstore (Frontend::find(kit, "vif")).
    NetworkCard(Kit& kit, u32 id);

    Task<Result<void>> connect();
    Task<Result<void>> close();
    const MacAddress& address() const { return address_; }

    // Returns when the frame is on its way; waits while all buffers are. Inval: too long or no frame; NoDev: closed.
    Task<Result<void>> send(std::span<const u8> frame);
    // The next frame's length; what is longer than `to` is cut. One task at a time.
    Task<Result<usize>> receive(std::span<u8> to);

    u64 dropped() const { return dropped_; } // received in a form that was not negotiated

private:
    static constexpr u32 tx_buffers = 32, rx_buffers = 64;
    struct Buffer {
        u8* page;
        u32 reference;
    };
    struct Arrived {
        u16 buffer, offset, length;
    };

    Result<void> lend_all();
    Result<void> give_all_back();
    Task<Result<void>> publish();
    Task<void> serve();
    Task<void> watch_backend();
    bool take_sent();
    bool take_received();
    void post(u16 buffer);
    void end();

    Frontend front_;
    Platform& platform_;
    GrantTable& grants_;
    FrontRing<netif_tx_request_t, netif_tx_response_t> tx_;
    FrontRing<netif_rx_request_t, netif_rx_response_t> rx_;
    Buffer tx_ring_{}, rx_ring_{}, tx_buffer_[tx_buffers]{}, rx_buffer_[rx_buffers]{};
    u16 tx_free_[tx_buffers]{};
    Arrived arrived_[rx_buffers]{}; // a queue: as many places as there are buffers
    bool posted_[rx_buffers]{};     // the backend has it
    bool under_way_[tx_buffers]{};
    u32 tx_free_count_ = 0, arrived_first_ = 0, arrived_count_ = 0, port_ = 0;
    Event event_, room_, there_;
    u64 dropped_ = 0;
    MacAddress address_{};
    bool connected_ = false, in_long_frame_ = false;
};

} // namespace domus::guest
