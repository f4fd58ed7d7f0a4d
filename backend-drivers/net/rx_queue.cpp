// See rx_queue.hpp.
#include "backend-drivers/net/rx_queue.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>

namespace domus::net {

namespace {

constexpr std::size_t packets_per_batch = 64;
constexpr std::size_t pages_per_packet = (longest_packet + 18 + page_size - 1) / page_size;
constexpr RingIndex most_slots = pages_per_packet + 1;
constexpr std::size_t pages_per_batch = 192;

netif_rx_response_t gso_slot(const Offload& offload) {
    netif_extra_info_t extra{};
    extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
    extra.u.gso.size = offload.gso_size;
    extra.u.gso.type = offload.gso == Gso::Tcp4 ? XEN_NETIF_GSO_TYPE_TCPV4 : XEN_NETIF_GSO_TYPE_TCPV6;
    return std::bit_cast<netif_rx_response_t>(extra);
}

std::uint16_t flags_of(const Offload& offload) {
    return static_cast<std::uint16_t>((offload.checksum_blank ? NETRXF_csum_blank : 0) |
                                      (offload.validated ? NETRXF_data_validated : 0) |
                                      (offload.gso != Gso::None ? NETRXF_extra_info : 0));
}

} // namespace

RxQueue::RxQueue(RxRing ring, client::Grants& grants, Wire& wire, Settings settings, Counts counts)
    : ring_(ring), grants_(grants), wire_(wire), settings_(settings), counts_(counts),
      pages_(grants, pages_per_batch + pages_per_packet) {
    batch_.reserve(packets_per_batch);
    pieces_.reserve(pages_per_batch + pages_per_packet);
    ids_.reserve(ring.size());
}

Turn RxQueue::serve() {
    batch_.clear();
    pieces_.clear();
    ids_.clear();
    used_ = 0;
    dry_ = false;
    RingIndex room = ring_.waiting();
    while (room != 0 && batch_.size() < packets_per_batch && used_ < pages_per_batch && next_packet(room)) {
        room -= batch_.back().slots();
        plan(batch_.back());
    }
    if (!pieces_.empty()) {
        grants_.copy(settings_.domid, pieces_);
        counts_.batches.add();
    }
    std::span<const client::GrantCopy> pieces = pieces_;
    std::span<const std::uint16_t> ids = ids_;
    for (const Packet& packet : batch_) {
        const std::size_t pages = packet.pages();
        answer(packet, pieces.first(pages), ids.first(packet.slots()));
        pieces = pieces.subspan(pages);
        ids = ids.subspan(packet.slots());
    }
    if (dry_) {
        return Turn::Idle;
    }
    return waiting_ || room == 0 ? Turn::Starved : Turn::More;
}

/// Puts the next packet that fits into the batch. False: there is none, or it has to wait.
bool RxQueue::next_packet(RingIndex room) {
    if (waiting_) { // read by an earlier turn; it is the first of this one
        std::memmove(pages_.page(0), pages_.page(waiting_->page), waiting_->size);
        waiting_->page = 0;
    }
    while (!waiting_) {
        if (!receive()) {
            return false;
        }
    }
    if (waiting_->slots() > room) {
        return false;
    }
    used_ = waiting_->page + waiting_->pages();
    batch_.push_back(*waiting_);
    waiting_.reset();
    return true;
}

/// Reads one packet from the wire to where the batch ends. False: there is none. It may be judged unfit and forgotten.
bool RxQueue::receive() {
    Packet packet{.page = used_};
    const iovec pieces[] = {{&packet.header, sizeof packet.header}, {pages_.page(used_), pages_per_packet * page_size}};
    const ssize_t length = wire_.receive(pieces);
    if (length == -EAGAIN || length == -EINTR) {
        dry_ = true;
        return false;
    }
    if (length < 0) {
        throw std::system_error(static_cast<int>(-length), std::generic_category(), "reading from the tap device");
    }
    packet.size = static_cast<std::size_t>(length) - std::min<std::size_t>(length, sizeof packet.header);
    if (fit(packet)) {
        waiting_ = packet;
    } else {
        counts_.dropped.add();
    }
    return true;
}

/// Makes the packet one that the frontend can take. False: there is no way.
bool RxQueue::fit(Packet& packet) {
    if (packet.size < shortest_packet || packet.size > longest_packet) {
        return false;
    }
    const auto offload = from_wire(packet.header);
    if (!offload) {
        return false;
    }
    packet.offload = *offload;
    const bool gso_allowed = offload->gso == Gso::None || (offload->gso == Gso::Tcp4 ? settings_.gso4 : settings_.gso6);
    if (!gso_allowed || (packet.slots() > 1 && !settings_.scatter) || packet.slots() > ring_.size()) {
        return false;
    }
    if (!offload->checksum_blank) {
        return true;
    }
    const std::span<std::uint8_t> bytes(pages_.page(packet.page), packet.size);
    const auto transport = find_transport(bytes.first(std::min(bytes.size(), head_size)));
    // A frontend finds the checksum by itself, in TCP and UDP only.
    const bool able = transport && (transport->ip_version == 4 ? settings_.checksum4 : settings_.checksum6);
    if (able) {
        return true;
    }
    packet.offload.checksum_blank = false;
    return offload->gso == Gso::None && complete_checksum(packet.header, bytes);
}

/// Takes the requests for the packet and notes what is to be copied where.
void RxQueue::plan(const Packet& packet) {
    std::size_t done = 0;
    for (unsigned slot = 0; slot < packet.slots(); ++slot) {
        netif_rx_request_t request{};
        ring_.take(request);
        ids_.push_back(request.id);
        if (slot == 1 && packet.offload.gso != Gso::None) {
            continue; // the extra info's slot; its buffer goes back unused
        }
        const std::size_t length = std::min(page_size, packet.size - done);
        pieces_.push_back({.reference = request.gref,
                           .offset = 0,
                           .length = static_cast<std::uint16_t>(length),
                           .local = pages_.page(packet.page) + done,
                           .to_guest = true});
        done += length;
    }
}

void RxQueue::answer(const Packet& packet, std::span<const client::GrantCopy> pieces,
                     std::span<const std::uint16_t> ids) {
    bool good = true;
    std::uint16_t flags = flags_of(packet.offload);
    for (std::size_t slot = 0; slot < ids.size(); ++slot) {
        if (slot == 1 && packet.offload.gso != Gso::None) {
            ring_.put(gso_slot(packet.offload));
            continue;
        }
        const client::GrantCopy& piece = pieces.front();
        pieces = pieces.subspan(1);
        const bool copied = piece.status == GNTST_okay;
        good = good && copied;
        flags = static_cast<std::uint16_t>(flags | (pieces.empty() ? 0 : NETRXF_more_data));
        ring_.put({.id = ids[slot],
                   .offset = 0,
                   .flags = flags,
                   .status = copied ? static_cast<std::int16_t>(piece.length) : std::int16_t{NETIF_RSP_ERROR}});
        flags = 0; // the others of a packet say only whether there is more
    }
    notify_ |= ring_.publish();
    if (good) {
        counts_.packets.add();
        counts_.bytes.add(packet.size);
    } else {
        counts_.dropped.add();
    }
}

bool RxQueue::arm() {
    return ring_.arm(waiting_ ? waiting_->slots() : 1);
}

void RxQueue::forget_first() {
    const RingIndex lost = std::min(ring_.waiting(), most_slots);
    for (RingIndex i = 0; i < lost; ++i) {
        netif_rx_request_t request{};
        ring_.take(request);
        ring_.put({.id = request.id, .offset = 0, .flags = 0, .status = NETIF_RSP_ERROR});
    }
    if (lost != 0) {
        notify_ |= ring_.publish();
    }
}

} // namespace domus::net
