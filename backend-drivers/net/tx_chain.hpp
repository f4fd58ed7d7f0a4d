// Slots of the transmit ring become a packet: netif.h's "Guest transmit". Pure. Owner: a TxQueue, one at a time.
// The frontend is an adversary: each slot is judged here on its copy, before anything is done with it.
//   RingError   the chain itself is broken; the device is closed, as what follows could not be told apart
//   refusal()   this packet is not carried, the ring goes on
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "backend-drivers/net/types.hpp"

namespace domus::net {

class TxChain {
public:
    struct Fragment {
        std::uint32_t reference;
        std::uint16_t offset, size;
        RingIndex slot; ///< where in the ring it stood
    };

    /// Takes the next slot, which stood at `index`. True: the packet is complete, no more slots belong to it.
    bool add(const TxSlot& slot, RingIndex index);

    /// Of a complete chain: why the packet is not carried, or nullptr.
    const char* refusal() const { return refusal_; }
    std::span<const Fragment> fragments() const { return {fragments_.data(), data_slots_}; }
    std::uint32_t size() const { return size_; }
    const Offload& offload() const { return offload_; }

    /// Every slot of the chain gets a response, in its order.
    unsigned slots() const { return slots_; }
    netif_tx_response_t response(unsigned slot, std::int16_t status) const;

private:
    enum class Expect { First, Extra, Data };

    void first(const netif_tx_request_t& request, RingIndex index);
    void extra(const netif_extra_info_t& info);
    void data(const netif_tx_request_t& request, RingIndex index);
    void segmentation(const netif_extra_info_t& info);
    bool complete();
    void refuse(const char* reason);

    Expect expect_ = Expect::First;
    bool more_data_ = false;
    unsigned slots_ = 0, data_slots_ = 0;
    std::uint32_t size_ = 0, later_ = 0; ///< whole packet; data in slots after the first
    std::uint32_t extras_seen_ = 0;      ///< a bit for each type
    std::uint64_t extra_slots_ = 0;      ///< a bit for each slot that is an extra info
    const char* refusal_ = nullptr;
    Offload offload_;
    std::array<Fragment, most_fragments> fragments_;
    std::array<std::uint16_t, longest_chain> ids_;
};

} // namespace domus::net
