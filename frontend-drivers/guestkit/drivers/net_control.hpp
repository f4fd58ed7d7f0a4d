// A card's control ring: asks a backend that has one to keep the queues' pages mapped ("static grants" of
// <xen/io/netif.h>). Owner: NetworkCard. No lock: one vcpu. Nobody waits for the answers: what the backend does not map
// it copies by grant, so that it is the same to us.
#pragma once

#include "frontend-drivers/guestkit/drivers/lent_pages.hpp"
#include "frontend-drivers/guestkit/drivers/ring.hpp"

#include <xen/io/netif.h>

namespace domus::guest {

template <u32 most_queues>
class NetControl {
public:
    explicit NetControl(Kit& kit) : kit_(kit), event_(kit.platform.tasks) {}

    Result<void> open(u16 backend) {
        TRY(ring_page_.lend(kit_, 1, backend, Lend::Writable));
        TRY(lists_.lend(kit_, most_queues, backend, Lend::Writable));
        ring_ = {ring_page_.at(0), page_size};
        port_ = TRY(kit_.platform.open_port(backend, event_));
        return {};
    }
    // Names the pages of a queue, once for each; the backend finds the messages when it comes.
    template <class Queue>
    void name(u32 number, const Queue& queue) {
        const u32 count = queue.name_pages(reinterpret_cast<xen_netif_gref*>(lists_.at(number)));
        ring_.put({static_cast<u16>(number),
                   XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING,
                   {number, lists_.reference(number), count}});
        ring_.push();
    }
    Result<void> close() {
        if (port_ != 0)
            kit_.platform.close_port(std::exchange(port_, 0));
        const bool ring = ring_page_.take_back(kit_), lists = lists_.take_back(kit_);
        if (!ring || !lists)
            return Err::Busy;
        return {};
    }

    bool is_open() const { return port_ != 0; }
    u32 reference() const { return ring_page_.reference(0); }
    u32 port() const { return port_; }

private:
    Kit& kit_;
    Event event_; // nobody waits for it
    FrontRing<xen_netif_ctrl_request, xen_netif_ctrl_response> ring_;
    LentPages<1> ring_page_;
    LentPages<most_queues> lists_;
    u32 port_ = 0;
};

} // namespace domus::guest
