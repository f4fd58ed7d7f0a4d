// A network card: the frontend of netif (<xen/io/netif.h>). Works with Linux's netback and domus-netd. Owner: the
// guest. No lock: one vcpu. By itself it carries frames of up to 1514 bytes that need nothing more done. A guest that
// asks for offloads may send and gets frames of up to 65535 bytes, in pieces on the ring, that lack a checksum or are
// to be cut into packets. A frame's addresses and ports choose the queue it is sent on; the backend chooses for what is
// received.
#pragma once

#include "frontend-drivers/guestkit/drivers/frontend.hpp"
#include "frontend-drivers/guestkit/drivers/net_control.hpp"
#include "frontend-drivers/guestkit/drivers/net_queue.hpp"

#include <array>

namespace domus::guest {

using MacAddress = std::array<u8, 6>;

constexpr u32 net_most_queues = 2;

struct CardWishes {
    u32 queues = 1; // at most
    bool offloads = false;
    bool mapped = true; // the backend may keep all buffers mapped, where it can
};

class NetworkCard {
public:
    static constexpr usize longest_frame = 1514, longest_large_frame = 65535;

    // The card's id in xenstore (Frontend::find(kit, "vif")).
    NetworkCard(Kit& kit, u32 id, CardWishes wishes = {});

    Task<Result<void>> connect();
    // Afterwards connect() may be called again: after the backend went (NoDev), too.
    Task<Result<void>> close();
    const MacAddress& address() const { return address_; }
    u32 queues() const { return queue_count_; }

    // Returns when the frame is on its way; waits while all buffers are. Inval: too long or no frame; NoDev: closed;
    // OpNotSupp: the backend does not do that.
    Task<Result<void>> send(std::span<const u8> frame, Offload how = {});
    // The next frame's length; what is longer than `to` is cut. One task at a time.
    Task<Result<usize>> receive(std::span<u8> to);
    Task<Result<usize>> receive(std::span<u8> to, Offload& how);

    u64 dropped() const; // received in a form that was not negotiated, or damaged

private:
    Task<Result<void>> establish();
    Task<Result<void>> publish();
    Task<void> read_offers();
    Task<void> serve(NetQueue& queue);
    Task<void> watch_backend();
    bool can_send(usize bytes, const Offload& how) const;
    NetQueue& queue_for(std::span<const u8> frame);
    void end();

    Frontend front_;
    Kit& kit_;
    const CardWishes wishes_;
    NetQueue queues_[net_most_queues];
    NetControl<net_most_queues> control_;
    u32 queue_count_ = 0, next_queue_ = 0, running_ = 0; // running_: tasks of ours
    Event room_, there_, ended_;
    MacAddress address_{};
    bool connected_ = false, scatter_ = false, checksum4_ = false, checksum6_ = false, segments4_ = false,
         segments6_ = false;
};

static_assert(sizeof(NetworkCard) < 3500); // it is often in a coroutine's frame, of at most a page

} // namespace domus::guest
