// See tx_chain.hpp.
#include "backend-drivers/net/tx_chain.hpp"

#include <cstring>

#include <fmt/format.h>

namespace domus::net {

netif_extra_info_t TxSlot::extra() const {
    netif_extra_info_t info;
    std::memcpy(&info, this, sizeof info);
    return info;
}

bool TxChain::add(const TxSlot& slot, RingIndex index) {
    if (slots_ == longest_chain) {
        throw RingError(fmt::format("a packet in more than {} slots", longest_chain));
    }
    // An extra info has no id; its first two bytes go back as they came (see response()).
    std::memcpy(&ids_[slots_], expect_ == Expect::Extra ? static_cast<const void*>(&slot) : &slot.request.id,
                sizeof ids_[slots_]);
    switch (expect_) {
    case Expect::First:
        first(slot.request, index);
        break;
    case Expect::Extra:
        extra_slots_ |= std::uint64_t{1} << slots_;
        extra(slot.extra());
        break;
    case Expect::Data:
        data(slot.request, index);
        break;
    }
    ++slots_;
    return expect_ == Expect::First && complete();
}

void TxChain::first(const netif_tx_request_t& request, RingIndex index) {
    offload_.checksum_blank = (request.flags & NETTXF_csum_blank) != 0;
    offload_.validated = (request.flags & (NETTXF_data_validated | NETTXF_csum_blank)) != 0;
    more_data_ = (request.flags & NETTXF_more_data) != 0;
    size_ = request.size; // of the whole packet; this slot's own share is known when the others are
    fragments_[data_slots_++] = {request.gref, request.offset, 0, index};
    expect_ = (request.flags & NETTXF_extra_info) != 0 ? Expect::Extra : more_data_ ? Expect::Data : Expect::First;
}

void TxChain::extra(const netif_extra_info_t& info) {
    if (info.type == XEN_NETIF_EXTRA_TYPE_NONE || info.type >= XEN_NETIF_EXTRA_TYPE_MAX) {
        throw RingError(fmt::format("an extra info of unknown type {}", info.type));
    }
    const std::uint32_t bit = 1u << info.type;
    if ((extras_seen_ & bit) != 0) {
        throw RingError(fmt::format("two extra infos of type {} in one packet", info.type));
    }
    extras_seen_ |= bit;
    if (info.type == XEN_NETIF_EXTRA_TYPE_GSO) {
        segmentation(info);
    } else if (info.type != XEN_NETIF_EXTRA_TYPE_HASH) { // a hash is a hint, nothing here needs it
        refuse("multicast control was not offered");
    }
    if ((info.flags & XEN_NETIF_EXTRA_FLAG_MORE) == 0) {
        expect_ = more_data_ ? Expect::Data : Expect::First;
    }
}

void TxChain::segmentation(const netif_extra_info_t& info) {
    offload_.gso_size = info.u.gso.size;
    if (info.u.gso.type == XEN_NETIF_GSO_TYPE_TCPV4) {
        offload_.gso = Gso::Tcp4;
    } else if (info.u.gso.type == XEN_NETIF_GSO_TYPE_TCPV6) {
        offload_.gso = Gso::Tcp6;
    } else {
        refuse("a segmentation type that was not offered");
    }
    if (info.u.gso.size == 0) {
        refuse("segments of no size");
    }
}

void TxChain::data(const netif_tx_request_t& request, RingIndex index) {
    if (std::size_t{request.offset} + request.size > page_size) {
        throw RingError(fmt::format("data across a page: offset {}, size {}", request.offset, request.size));
    }
    later_ += request.size;
    if (data_slots_ == most_fragments) {
        refuse("too many slots");
    } else {
        fragments_[data_slots_++] = {request.gref, request.offset, request.size, index};
    }
    if ((request.flags & NETTXF_more_data) == 0) {
        expect_ = Expect::First;
    }
}

bool TxChain::complete() {
    if (later_ > size_) {
        refuse("its slots hold more than its size");
        return true;
    }
    Fragment& head = fragments_[0];
    head.size = static_cast<std::uint16_t>(size_ - later_);
    if (refusal_ == nullptr && std::size_t{head.offset} + head.size > page_size) {
        throw RingError(fmt::format("data across a page: offset {}, size {}", head.offset, head.size));
    }
    if (size_ < shortest_packet) {
        refuse("shorter than an Ethernet header");
    }
    if (offload_.gso != Gso::None && !offload_.checksum_blank) {
        refuse("segmentation of a packet that has its checksum");
    }
    return true;
}

void TxChain::refuse(const char* reason) {
    if (refusal_ == nullptr) {
        refusal_ = reason;
    }
}

// A response lies over the first four bytes of what was asked. That of an extra info repeats its first two bytes, type
// and flags: should this process die before the frontend sees the response, the next one still finds the chain's end.
netif_tx_response_t TxChain::response(unsigned slot, std::int16_t status) const {
    const bool is_extra = (extra_slots_ >> slot & 1) != 0;
    return {.id = ids_[slot], .status = is_extra ? std::int16_t{NETIF_RSP_NULL} : status};
}

} // namespace domus::net
