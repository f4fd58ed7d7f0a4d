// From the guest to the wire: one queue's transmit ring. Owner: Queue. No lock, one thread.
// Packets are copied out of the guest's pages in one batch, each slot's data to the page of this process that belongs
// to the slot, so no memory is allocated while serving; and they are given to the wire in one batch.
//
// Responses are in the order of the requests, and are shown packet by packet when the batch has been sent. rsp_prod
// therefore always stands between two packets, and a new process goes on there: what an earlier one had taken and not
// answered is sent (again). Only the first packet may have lost its grant references to responses that were written and
// not yet shown; forget_first() answers it unsent.
#pragma once

#include <optional>
#include <vector>

#include "backend-drivers/common/stats.hpp"
#include "backend-drivers/net/arena.hpp"
#include "backend-drivers/net/offload.hpp"
#include "backend-drivers/net/rate.hpp"
#include "backend-drivers/net/tx_chain.hpp"
#include "backend-drivers/net/wire.hpp"
#include "hypervisor/client/grants.hpp"

namespace domus::net {

class TxQueue {
public:
    struct Settings {
        std::uint16_t domid = 0;
        std::optional<Mac> source; ///< packets from any other address are dropped
        std::optional<RateLimit> rate;
    };
    struct Counts {
        backend::Stats::Value packets, bytes, dropped, spoofed, batches;
        backend::RingFigures ring;
    };

    TxQueue(TxRing ring, client::Grants& grants, Wire& wire, Settings settings, Counts counts);

    /// Serves one batch. Throws RingError or client::Error: the device is to be closed.
    Turn serve(Clock::time_point now);
    /// Whether the frontend wants to hear of responses since the last call.
    bool take_notify() { return std::exchange(notify_, false); }
    /// When a throttled queue may go on.
    Clock::time_point throttled_until() const { return settings_.rate->next_refill(); }
    /// After a restart of this process: see above.
    void forget_first();

    TxRing& ring() { return ring_; }
    const backend::RingFigures& figures() const { return counts_.ring; }
    /// Shows how far the ring is served.
    void note() { counts_.ring.note(ring_); }

private:
    struct Packet {
        TxChain chain;
        std::int16_t status = NETIF_RSP_OKAY; ///< anything else: it is not sent
    };

    bool next_chain(Clock::time_point now);
    TxChain read_chain();
    void want(const TxChain& chain);
    void copy();
    void prepare();
    std::int16_t judge(const TxChain& chain, std::span<const client::GrantCopy> pieces);
    void address(const WireHeader& header, std::span<const client::GrantCopy> pieces);
    std::int16_t outcome(const TxChain& chain, const Outgoing& outgoing);
    std::int16_t drop(backend::Stats::Value& why, std::int16_t status);
    void answer(const TxChain& chain, std::int16_t status);

    TxRing ring_;
    client::Grants& grants_;
    Wire& wire_;
    Settings settings_;
    Counts counts_;
    Arena pages_;
    std::vector<Packet> batch_;
    std::vector<client::GrantCopy> pieces_;
    std::vector<WireHeader> headers_; ///< of packets that have no room before their data
    std::vector<iovec> parts_;        ///< of all that is sent; Outgoing::pieces are in it
    std::vector<Outgoing> outgoing_;
    bool notify_ = false;
};

} // namespace domus::net
