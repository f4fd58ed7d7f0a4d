// Slots to packets: every flag, every limit, and what a frontend must not do.
#include <gtest/gtest.h>

#include "tests/unit/backend-drivers/net/frontend.hpp"

namespace domus::net::test {
namespace {

TxChain read(const std::vector<TxSlot>& slots) {
    TxChain chain;
    for (std::size_t i = 0; i < slots.size(); ++i) {
        EXPECT_EQ(chain.add(slots[i], static_cast<RingIndex>(i)), i + 1 == slots.size()) << "slot " << i;
    }
    return chain;
}

constexpr unsigned more = NETTXF_more_data, info = NETTXF_extra_info, blank = NETTXF_csum_blank;
constexpr unsigned gso = XEN_NETIF_EXTRA_TYPE_GSO, tcp4 = XEN_NETIF_GSO_TYPE_TCPV4;

TEST(TxChain, OneSlotIsAPacket) {
    const TxChain chain = read({request(7, 100, 0, 3, 60)});
    EXPECT_EQ(chain.refusal(), nullptr);
    ASSERT_EQ(chain.fragments().size(), 1u);
    EXPECT_EQ(chain.fragments()[0].size, 60);
    EXPECT_EQ(chain.fragments()[0].offset, 100);
    EXPECT_EQ(chain.offload(), Offload{});
    EXPECT_EQ(chain.response(0, NETIF_RSP_OKAY).id, 3);
}

TEST(TxChain, TheFirstSlotsShareIsWhatTheOthersLeave) {
    const TxChain chain =
        read({request(1, 4000, more, 1, 5000), request(2, 0, more, 2, 4096), request(3, 8, 0, 3, 808)});
    EXPECT_EQ(chain.refusal(), nullptr);
    EXPECT_EQ(chain.fragments()[0].size, 96);
    EXPECT_EQ(chain.size(), 5000u);
}

TEST(TxChain, ChecksumFlags) {
    EXPECT_TRUE(read({request(1, 0, blank, 1, 60)}).offload().checksum_blank);
    EXPECT_TRUE(read({request(1, 0, blank, 1, 60)}).offload().validated);
    const Offload checked = read({request(1, 0, NETTXF_data_validated, 1, 60)}).offload();
    EXPECT_FALSE(checked.checksum_blank);
    EXPECT_TRUE(checked.validated);
}

TEST(TxChain, SegmentationAndItsResponses) {
    const TxChain chain =
        read({request(1, 0, more | info | blank, 5, 5000), extra(gso, 0, 1448, tcp4), request(2, 0, 0, 6, 4000)});
    EXPECT_EQ(chain.refusal(), nullptr);
    EXPECT_EQ(chain.offload().gso, Gso::Tcp4);
    EXPECT_EQ(chain.offload().gso_size, 1448);
    EXPECT_EQ(chain.fragments()[0].size, 1000);
    EXPECT_EQ(chain.response(0, NETIF_RSP_OKAY).status, NETIF_RSP_OKAY);
    EXPECT_EQ(chain.response(1, NETIF_RSP_OKAY).status, NETIF_RSP_NULL);
    EXPECT_EQ(chain.response(1, NETIF_RSP_OKAY).id, gso) << "type and flags stay where a new process looks for them";
    EXPECT_EQ(chain.response(2, NETIF_RSP_ERROR).status, NETIF_RSP_ERROR);
}

TEST(TxChain, ExtrasMayBeSeveralAndAHashIsIgnored) {
    const TxChain chain =
        read({request(1, 0, info | blank, 5, 500), extra(gso, XEN_NETIF_EXTRA_FLAG_MORE, 100, XEN_NETIF_GSO_TYPE_TCPV6),
              extra(XEN_NETIF_EXTRA_TYPE_HASH)});
    EXPECT_EQ(chain.refusal(), nullptr);
    EXPECT_EQ(chain.offload().gso, Gso::Tcp6);
}

TEST(TxChain, EighteenSlotsAreTakenNineteenRefused) {
    for (const unsigned count : {18u, 19u}) {
        std::vector<TxSlot> slots{request(1, 0, more, 0, 100 * count)};
        for (unsigned i = 1; i < count; ++i) {
            slots.push_back(request(1 + i, 0, i + 1 < count ? more : 0, i, 100));
        }
        const TxChain chain = read(slots);
        EXPECT_EQ(chain.refusal() == nullptr, count == 18) << count;
        EXPECT_EQ(chain.slots(), count) << "each slot is answered all the same";
    }
}

TEST(TxChain, WhatIsRefusedAlone) {
    EXPECT_NE(read({request(1, 0, 0, 1, 13)}).refusal(), nullptr) << "no Ethernet header";
    EXPECT_NE(read({request(1, 0, more, 1, 60), request(2, 0, 0, 2, 61)}).refusal(), nullptr) << "more than its size";
    EXPECT_NE(read({request(1, 0, info, 1, 60), extra(gso, 0, 10, tcp4)}).refusal(), nullptr) << "checksum not blank";
    EXPECT_NE(read({request(1, 0, info | blank, 1, 60), extra(gso, 0, 0, tcp4)}).refusal(), nullptr) << "no size";
    EXPECT_NE(read({request(1, 0, info | blank, 1, 60), extra(gso, 0, 10, 3)}).refusal(), nullptr) << "no such type";
    EXPECT_NE(read({request(1, 0, info, 1, 60), extra(XEN_NETIF_EXTRA_TYPE_MCAST_ADD)}).refusal(), nullptr);
}

TEST(TxChain, WhatClosesTheDevice) {
    EXPECT_THROW(read({request(1, 4090, 0, 1, 60)}), RingError) << "across the page";
    EXPECT_THROW(read({request(1, 65535, 0, 1, 65535)}), RingError);
    EXPECT_THROW(read({request(1, 0, more, 1, 6000), request(2, 4000, 0, 1, 100)}), RingError);
    EXPECT_THROW(read({request(1, 0, info, 1, 60), extra(0)}), RingError) << "no such type";
    EXPECT_THROW(read({request(1, 0, info, 1, 60), extra(XEN_NETIF_EXTRA_TYPE_MAX)}), RingError);
    EXPECT_THROW(read({request(1, 0, info | blank, 1, 60), extra(gso, XEN_NETIF_EXTRA_FLAG_MORE, 1, tcp4),
                       extra(gso, 0, 1, tcp4)}),
                 RingError)
        << "twice";
}

TEST(TxChain, AChainWithoutEndIsCutOff) {
    TxChain chain;
    unsigned taken = 0;
    EXPECT_THROW(
        for (; taken < 1000; ++taken) { chain.add(request(1, 0, more, 0, 100), taken); }, RingError);
    EXPECT_EQ(taken, longest_chain);
}

} // namespace
} // namespace domus::net::test
