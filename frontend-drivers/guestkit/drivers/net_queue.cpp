// See net_queue.hpp.
#include "frontend-drivers/guestkit/drivers/net_queue.hpp"

#include <algorithm>

namespace domus::guest {

Result<void> NetQueue::open(u16 backend, u32 buffers) {
    buffers_ = std::min(buffers, net_most_buffers);
    TRY(tx_ring_.lend(kit_, 1, backend, Lend::Writable));
    TRY(rx_ring_.lend(kit_, 1, backend, Lend::Writable));
    TRY(tx_pages_.lend(kit_, buffers_, backend, Lend::ReadOnly));
    TRY(rx_pages_.lend(kit_, buffers_, backend, Lend::Writable));
    tx_free_ = ~u64{0} >> (net_most_buffers - buffers_);
    tx_free_count_ = buffers_;
    tx_ = {tx_ring_.at(0), page_size};
    rx_ = {rx_ring_.at(0), page_size};
    first_ = count_ = partial_ = frames_ = 0;
    extra_follows_ = more_follows_ = bad_ = false;
    port_ = TRY(kit_.platform.open_port(backend, event));
    for (u32 i = 0; i < buffers_; ++i)
        post(static_cast<u8>(i));
    rx_.push(); // nobody is there yet to be notified
    return {};
}

Result<void> NetQueue::close() {
    if (port_ != 0)
        kit_.platform.close_port(std::exchange(port_, 0));
    bool all = tx_ring_.take_back(kit_);
    all &= rx_ring_.take_back(kit_);
    all &= tx_pages_.take_back(kit_);
    all &= rx_pages_.take_back(kit_);
    tx_ = {};
    rx_ = {};
    if (!all)
        return Err::Busy;
    return {};
}

u32 NetQueue::name_pages(xen_netif_gref* to) const {
    static_assert(2 * net_most_buffers * sizeof *to <= page_size);
    u32 count = 0;
    for (u32 i = 0; i < buffers_; ++i) {
        to[count++] = {tx_pages_.reference(i), XEN_NETIF_CTRLF_GREF_readonly, 0};
        to[count++] = {rx_pages_.reference(i), 0, 0};
    }
    return count;
}

void NetQueue::post(u8 buffer) {
    posted_[rx_.produced() % std::size(posted_)] = buffer;
    rx_.put({buffer, 0, rx_pages_.reference(buffer)});
}

// Only with room for its pieces and for what tells about segmentation.
void NetQueue::send(std::span<const u8> frame, const Offload& how) {
    const u16 total = static_cast<u16>(frame.size());
    for (bool first = true; !frame.empty(); first = false) {
        const auto piece = frame.first(std::min<usize>(frame.size(), page_size));
        frame = frame.subspan(piece.size());
        const u16 buffer = static_cast<u16>(std::countr_zero(tx_free_));
        tx_free_ &= ~(u64{1} << buffer);
        --tx_free_count_;
        std::memcpy(tx_pages_.at(buffer), piece.data(), piece.size());
        u16 flags = frame.empty() ? 0 : NETTXF_more_data;
        if (first && how.checksum_blank)
            flags |= NETTXF_csum_blank | NETTXF_data_validated;
        if (first && how.segment != 0)
            flags |= NETTXF_extra_info;
        // The first message carries the frame's length.
        tx_.put({tx_pages_.reference(buffer), 0, flags, buffer, first ? total : static_cast<u16>(piece.size())});
        if (flags & NETTXF_extra_info) {
            netif_extra_info_t extra{};
            extra.type = XEN_NETIF_EXTRA_TYPE_GSO;
            extra.u.gso.size = how.segment;
            extra.u.gso.type = how.ipv6 ? XEN_NETIF_GSO_TYPE_TCPV6 : XEN_NETIF_GSO_TYPE_TCPV4;
            netif_tx_request_t slot{};
            static_assert(sizeof extra <= sizeof slot);
            std::memcpy(&slot, &extra, sizeof extra);
            tx_.put(slot);
        }
    }
}

bool NetQueue::take_sent() {
    while (const auto answer = tx_.take()) {
        if (answer->status == NETIF_RSP_NULL)
            continue; // the place of what told about segmentation
        if (answer->id >= buffers_ || (tx_free_ >> answer->id & 1) != 0)
            return false;
        tx_free_ |= u64{1} << answer->id;
        ++tx_free_count_;
    }
    return !tx_.broken();
}

void NetQueue::drop_frame() {
    ++dropped_;
    for (; partial_ != 0; --partial_)
        post(pieces_[(first_ + --count_) % net_most_buffers].buffer);
}

void NetQueue::take_extra(const netif_extra_info_t& extra) {
    extra_follows_ = extra.flags & XEN_NETIF_EXTRA_FLAG_MORE;
    const bool tcp4 = extra.u.gso.type == XEN_NETIF_GSO_TYPE_TCPV4, tcp6 = extra.u.gso.type == XEN_NETIF_GSO_TYPE_TCPV6;
    bad_ |= extra.type != XEN_NETIF_EXTRA_TYPE_GSO || (!tcp4 && !tcp6) || extra.u.gso.size == 0;
    coming_.segment = extra.u.gso.size;
    coming_.ipv6 = tcp6;
}

void NetQueue::take_piece(u8 buffer, const netif_rx_response_t& answer) {
    if (!more_follows_) {
        coming_ = {};
        coming_.checksum_blank = answer.flags & NETRXF_csum_blank;
        coming_.checked = answer.flags & NETRXF_data_validated;
        extra_follows_ = answer.flags & NETRXF_extra_info;
        bad_ = false;
    }
    more_follows_ = answer.flags & NETRXF_more_data;
    bad_ |= answer.status <= 0 || answer.offset + u32(answer.status) > page_size;
    pieces_[(first_ + count_++) % net_most_buffers] = {
        answer.offset, static_cast<u16>(answer.status), buffer, false, {}};
    ++partial_;
}

bool NetQueue::take_received() {
    for (;;) {
        const u8 buffer = posted_[rx_.consumed() % std::size(posted_)];
        const auto answer = rx_.take();
        if (!answer)
            return !rx_.broken();
        if (extra_follows_) {
            netif_extra_info_t extra;
            static_assert(sizeof extra <= sizeof *answer);
            std::memcpy(&extra, &*answer, sizeof extra);
            take_extra(extra);
            post(buffer);
        } else {
            if (answer->id != buffer)
                return false;
            take_piece(buffer, *answer);
        }
        if (extra_follows_ || more_follows_)
            continue;
        if (bad_) {
            drop_frame();
            continue;
        }
        pieces_[(first_ + count_ - partial_) % net_most_buffers].how = coming_;
        pieces_[(first_ + count_ - 1) % net_most_buffers].last = true;
        partial_ = 0;
        ++frames_;
    }
}

bool NetQueue::take() {
    const bool sent = take_sent();
    return take_received() && sent;
}

// What is longer than `to` is cut. Only when there is a frame.
usize NetQueue::receive(std::span<u8> to, Offload& how) {
    how = pieces_[first_].how;
    usize length = 0;
    for (bool last = false; !last; --count_) {
        const Piece& piece = pieces_[first_];
        first_ = (first_ + 1) % net_most_buffers;
        const usize part = std::min<usize>(piece.length, to.size() - length);
        std::memcpy(to.data() + length, rx_pages_.at(piece.buffer) + piece.offset, part);
        length += part;
        last = piece.last;
        post(piece.buffer);
    }
    --frames_;
    return length;
}

void NetQueue::push() {
    const bool sent = tx_.push(), posted = rx_.push();
    if (sent || posted)
        kit_.platform.notify(port_);
}

bool NetQueue::arm() {
    const bool sent = tx_.arm(), received = rx_.arm();
    return sent || received || tx_.broken() || rx_.broken();
}

} // namespace domus::guest
