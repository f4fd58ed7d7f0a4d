// From the wire to the guest: one queue's receive ring. Owner: Queue. No lock, one thread.
// Packets are read into pages side by side and copied into the guest's buffers in one batch. A response stands in the
// slot of the request whose buffer it used, which the protocol demands; an extra info takes a slot too.
//
// As in TxQueue, responses are shown packet by packet. Requests whose responses an earlier process wrote and did not
// show have lost their grant reference: at most those of one packet. forget_first() gives them back unused.
#pragma once

#include <optional>
#include <vector>

#include "backend-drivers/common/stats.hpp"
#include "backend-drivers/net/arena.hpp"
#include "backend-drivers/net/offload.hpp"
#include "backend-drivers/net/wire.hpp"
#include "hypervisor/client/grants.hpp"

namespace domus::net {

class RxQueue {
public:
    struct Settings {
        std::uint16_t domid = 0;
        bool scatter = false;   ///< the frontend takes packets of more than one slot
        bool checksum4 = true;  ///< it takes IPv4 packets with a blank checksum
        bool checksum6 = false; ///< the same for IPv6
        bool gso4 = false, gso6 = false;
    };
    struct Counts {
        backend::Stats::Value packets, bytes, dropped, batches;
        backend::RingFigures ring;
    };

    RxQueue(RxRing ring, client::Grants& grants, Wire& wire, Settings settings, Counts counts);

    /// Serves one batch. Throws RingError or client::Error: the device is to be closed.
    Turn serve();
    bool take_notify() { return std::exchange(notify_, false); }
    const backend::RingFigures& figures() const { return counts_.ring; }
    /// Shows how far the ring is served.
    void note() { counts_.ring.note(ring_); }
    /// Asks to be notified when there are requests for what has starved. True: there are by now.
    bool arm();
    /// After a restart of this process: see above.
    void forget_first();

private:
    struct Packet {
        WireHeader header{};
        Offload offload;
        std::size_t page = 0, size = 0;
        std::size_t pages() const { return (size + page_size - 1) / page_size; }
        unsigned slots() const { return static_cast<unsigned>(pages()) + (offload.gso != Gso::None ? 1 : 0); }
    };

    bool next_packet(RingIndex room);
    bool receive();
    bool fit(Packet& packet);
    void plan(const Packet& packet);
    void answer(const Packet& packet, std::span<const client::GrantCopy> pieces, std::span<const std::uint16_t> ids);

    RxRing ring_;
    client::Grants& grants_;
    Wire& wire_;
    Settings settings_;
    Counts counts_;
    Arena pages_;
    std::vector<Packet> batch_;
    std::optional<Packet> waiting_; ///< read from the wire, but the ring had no room for it
    std::size_t used_ = 0;          ///< pages of this batch
    std::vector<client::GrantCopy> pieces_;
    std::vector<std::uint16_t> ids_;
    bool notify_ = false, dry_ = false;
};

} // namespace domus::net
