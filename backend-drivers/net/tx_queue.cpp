// See tx_queue.hpp.
#include "backend-drivers/net/tx_queue.hpp"

#include <algorithm>

#include <spdlog/spdlog.h>

namespace domus::net {

namespace {

constexpr std::size_t packets_per_batch = 64;
constexpr std::size_t slots_per_batch = 192; // with one chain more it still fits the ring

/// The packet's first bytes in one piece: in place, or gathered where a frontend has spread them.
std::span<const std::uint8_t> head_of(std::span<const client::GrantCopy> data, std::span<std::uint8_t> scratch) {
    if (data[0].length >= scratch.size() || data.size() == 1) {
        return {static_cast<const std::uint8_t*>(data[0].local), data[0].length};
    }
    std::size_t filled = 0;
    for (const client::GrantCopy& piece : data) {
        const std::size_t length = std::min<std::size_t>(piece.length, scratch.size() - filled);
        std::memcpy(scratch.data() + filled, piece.local, length);
        filled += length;
    }
    return scratch.first(filled);
}

} // namespace

TxQueue::TxQueue(TxRing ring, client::Grants& grants, Wire& wire, Settings settings, Counts counts)
    : ring_(ring), grants_(grants), wire_(wire), settings_(settings), counts_(counts), pages_(grants, ring.size()) {
    batch_.reserve(packets_per_batch);
    pieces_.reserve(slots_per_batch + longest_chain);
    headers_.reserve(packets_per_batch);
    parts_.reserve(slots_per_batch + longest_chain + packets_per_batch); // never moved: what is sent points there
    outgoing_.reserve(packets_per_batch);
}

Turn TxQueue::serve(Clock::time_point now) {
    batch_.clear();
    pieces_.clear();
    const RingIndex begin = ring_.consumed();
    bool throttled = false;
    while (batch_.size() < packets_per_batch && ring_.consumed() - begin < slots_per_batch && ring_.waiting() != 0) {
        if (!next_chain(now)) {
            throttled = true;
            break;
        }
    }
    if (batch_.empty()) {
        return throttled ? Turn::Throttled : Turn::Idle;
    }
    copy();
    counts_.batches.add();
    prepare();
    wire_.send(outgoing_);
    auto sent = outgoing_.cbegin();
    for (const Packet& packet : batch_) {
        const bool tried = packet.status == NETIF_RSP_OKAY;
        answer(packet.chain, tried ? outcome(packet.chain, *sent++) : packet.status);
    }
    return throttled ? Turn::Throttled : Turn::More;
}

bool TxQueue::next_chain(Clock::time_point now) {
    if (settings_.rate) {
        TxSlot first{};
        ring_.peek(first); // only its size is used, and may change: the guest cheats itself out of nothing but order
        if (!settings_.rate->take(first.request.size, now)) {
            return false;
        }
    }
    batch_.push_back({read_chain()});
    want(batch_.back().chain);
    return true;
}

TxChain TxQueue::read_chain() {
    TxChain chain;
    bool whole = false;
    while (!whole) {
        if (ring_.waiting() == 0) {
            throw RingError("the last packet in its ring is not complete");
        }
        TxSlot slot{};
        const RingIndex index = ring_.consumed();
        ring_.take(slot);
        whole = chain.add(slot, index);
    }
    return chain;
}

void TxQueue::want(const TxChain& chain) {
    if (chain.refusal()) {
        spdlog::debug("domain {}: a packet is refused: {}", settings_.domid, chain.refusal());
        return;
    }
    for (const TxChain::Fragment& fragment : chain.fragments()) {
        pieces_.push_back({.reference = fragment.reference,
                           .offset = fragment.offset,
                           .length = fragment.size,
                           .local = pages_.page(fragment.slot & (ring_.size() - 1)) + fragment.offset,
                           .to_guest = false});
    }
}

void TxQueue::copy() {
    if (!pieces_.empty()) {
        grants_.copy(settings_.domid, pieces_);
    }
}

/// What of the batch is to be sent.
void TxQueue::prepare() {
    headers_.clear();
    parts_.clear();
    outgoing_.clear();
    std::span<const client::GrantCopy> left = pieces_;
    for (Packet& packet : batch_) {
        const std::size_t count = packet.chain.refusal() ? 0 : packet.chain.fragments().size();
        packet.status = judge(packet.chain, left.first(count));
        left = left.subspan(count);
    }
}

/// NETIF_RSP_OKAY: the packet is among those to be sent.
std::int16_t TxQueue::judge(const TxChain& chain, std::span<const client::GrantCopy> pieces) {
    const auto failed = [](const client::GrantCopy& piece) { return piece.status != GNTST_okay; };
    if (chain.refusal() || std::any_of(pieces.begin(), pieces.end(), failed)) {
        return drop(counts_.dropped, NETIF_RSP_ERROR);
    }
    std::array<std::uint8_t, head_size> scratch;
    const auto head = head_of(pieces, scratch);
    if (settings_.source && (head.size() < shortest_packet ||
                             !std::equal(settings_.source->begin(), settings_.source->end(), head.begin() + 6))) {
        return drop(counts_.spoofed, NETIF_RSP_DROPPED);
    }
    const auto header = to_wire(chain.offload(), head, chain.size());
    if (!header) {
        return drop(counts_.dropped, NETIF_RSP_ERROR);
    }
    address(*header, pieces);
    return NETIF_RSP_OKAY;
}

/// Puts a packet among those to be sent. Its header goes before its data where the page has room: one piece less.
void TxQueue::address(const WireHeader& header, std::span<const client::GrantCopy> pieces) {
    const std::size_t begin = parts_.size();
    const client::GrantCopy& first = pieces.front();
    auto* const data = static_cast<std::uint8_t*>(first.local);
    if (first.offset >= sizeof header) {
        std::memcpy(data - sizeof header, &header, sizeof header);
        parts_.push_back({data - sizeof header, sizeof header + first.length});
    } else {
        headers_.push_back(header);
        parts_.push_back({&headers_.back(), sizeof header});
        parts_.push_back({data, first.length});
    }
    for (const client::GrantCopy& piece : pieces.subspan(1)) {
        parts_.push_back({piece.local, piece.length});
    }
    outgoing_.push_back({.pieces = std::span(parts_).subspan(begin)});
}

std::int16_t TxQueue::outcome(const TxChain& chain, const Outgoing& outgoing) {
    if (outgoing.result < 0) {
        return drop(counts_.dropped, NETIF_RSP_DROPPED);
    }
    counts_.packets.add();
    counts_.bytes.add(chain.size());
    return NETIF_RSP_OKAY;
}

std::int16_t TxQueue::drop(backend::Stats::Value& why, std::int16_t status) {
    why.add();
    return status;
}

void TxQueue::answer(const TxChain& chain, std::int16_t status) {
    for (unsigned slot = 0; slot < chain.slots(); ++slot) {
        ring_.put(chain.response(slot, status));
    }
    notify_ |= ring_.publish();
}

void TxQueue::forget_first() {
    if (ring_.waiting() != 0) {
        answer(read_chain(), NETIF_RSP_DROPPED);
        counts_.dropped.add();
    }
}

} // namespace domus::net
