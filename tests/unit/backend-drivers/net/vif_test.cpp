// The network card as a device: what it offers, packets both ways, hostile frontends, reconnects, a restarted daemon.
#include <gmock/gmock.h>

#include "tests/unit/backend-drivers/net/card.hpp"

namespace domus::net::test {
namespace {

TEST_F(CardTest, OffersWhatItCanAndPlugsTheInterface) {
    offer();
    EXPECT_EQ(store.read(id.path() + "/feature-sg"), "1");
    EXPECT_EQ(store.read(id.path() + "/feature-gso-tcpv4"), "1");
    EXPECT_EQ(store.read(id.path() + "/feature-gso-tcpv6"), "1");
    EXPECT_EQ(store.read(id.path() + "/feature-split-event-channels"), "1");
    EXPECT_EQ(store.read(id.path() + "/multi-queue-max-queues"), "4");
    EXPECT_EQ(network.plugged.name, "vif3.0");
    EXPECT_EQ(network.plugged.bridge, "xenbr0");
    EXPECT_EQ(network.carriers, 0u) << "no frontend yet";
    take();
    EXPECT_EQ(network.carriers, 1u);
    EXPECT_TRUE(network.offloads.checksum && network.offloads.tso4 && network.offloads.tso6);
}

TEST_F(CardTest, TheToolstacksNameAndMtuAreUsed) {
    store.write(id.path() + "/vifname", "lan7");
    store.write(id.path() + "/mtu", "9000");
    offer();
    EXPECT_EQ(network.plugged.name, "lan7");
    EXPECT_EQ(network.plugged.mtu, 9000u);
}

TEST_F(CardTest, OffloadsAreWhatTheFrontendTakes) {
    offer();
    store.write(front + "/feature-no-csum-offload", "1");
    take();
    EXPECT_FALSE(network.offloads.checksum || network.offloads.tso4 || network.offloads.tso6);
}

TEST_F(CardTest, PacketsGoBothWays) {
    connect();
    const auto tx_port = last_port() - 1;
    const Bytes out = packet(4, true, 100);
    put(first_data, out, NETTXF_csum_blank);
    notify(tx_port);
    const Bytes sent = at_bridge();
    EXPECT_EQ(without_header(sent), out);
    EXPECT_EQ(sent[0], wire::needs_checksum);
    EXPECT_EQ(tx().rsp_prod, 1u);
    EXPECT_EQ(tx().slots[0].response.status, NETIF_RSP_OKAY);

    give_buffers(4);
    notify(last_port());
    const Bytes in = packet(6, false, 500);
    from_bridge(in);
    EXPECT_EQ(rx().rsp_prod, 1u);
    EXPECT_EQ(rx().slots[0].response.status, static_cast<std::int16_t>(in.size()));
    EXPECT_TRUE(std::equal(in.begin(), in.end(), grants->page(first_data + 256)));
}

TEST_F(CardTest, APacketWaitsForBuffers) {
    connect();
    from_bridge(packet(4, true, 9));
    EXPECT_EQ(rx().rsp_prod, 0u);
    give_buffers(1);
    notify(last_port());
    EXPECT_EQ(rx().rsp_prod, 1u);
}

TEST_F(CardTest, OneEventChannelServesBothWays) {
    offer();
    store.remove(front + "/event-channel-tx");
    store.remove(front + "/event-channel-rx");
    store.write(front + "/event-channel", "7");
    take();
    const auto port = last_port();
    for (unsigned round = 1; round <= 3; ++round) {
        put(first_data, packet(4, true, round));
        from_bridge(packet(4, true, round));
        give_buffers(1);
        notify(port);
        EXPECT_EQ(tx().rsp_prod, round);
        EXPECT_EQ(rx().rsp_prod, round);
    }
}

TEST_F(CardTest, EachQueueHasItsOwnTapQueue) {
    offer();
    store.write(front + "/multi-queue-num-queues", "2");
    write_queue("queue-0/", 0);
    write_queue("queue-1/", 4);
    take();
    EXPECT_EQ(network.names, (std::vector<std::string>{"vif3.0", "vif3.0"}));
    give_buffers(1, 4);
    notify(last_port());
    from_bridge(packet(4, true, 1), {}, 1);
    EXPECT_EQ(rx(4).rsp_prod, 1u);
    EXPECT_EQ(rx().rsp_prod, 0u);
}

TEST_F(CardTest, AForeignSourceAddressIsNotSent) {
    connect();
    Bytes bytes = packet(4, true, 1);
    bytes[11] ^= 1;
    put(first_data, bytes);
    put(first_data + 1, packet(4, true, 2));
    notify(last_port() - 1);
    EXPECT_EQ(tx().slots[0].response.status, NETIF_RSP_DROPPED);
    EXPECT_EQ(without_header(at_bridge()), packet(4, true, 2));
    EXPECT_TRUE(at_bridge().empty());
}

TEST_F(CardTest, AWildSegmentationTypeCostsOnlyItsPacket) {
    connect();
    std::copy_n(packet(4, true, 50).begin(), 104, grants->page(first_data));
    push(request(first_data, 0, NETTXF_csum_blank | NETTXF_extra_info, 1, 104));
    push(extra(XEN_NETIF_EXTRA_TYPE_GSO, 0, 500, 77));
    put(first_data + 1, packet(4, true, 2));
    notify(last_port() - 1);
    EXPECT_EQ(tx().rsp_prod, 3u);
    EXPECT_EQ(tx().slots[0].response.status, NETIF_RSP_ERROR);
    EXPECT_EQ(tx().slots[2].response.status, NETIF_RSP_OKAY);
    EXPECT_EQ(mine(), to_text(State::Connected));
}

struct HostileCard : CardTest {
    void closes_with(const std::string& reason) {
        ASSERT_TRUE(becomes(State::Closing)) << error();
        EXPECT_THAT(error(), testing::HasSubstr(reason));
        EXPECT_EQ(grants->mapped, 0u);
    }
};

TEST_F(HostileCard, AProducerThatRunsAwayClosesTheDevice) {
    connect();
    tx().req_prod = 100000;
    notify(last_port() - 1);
    closes_with("ran away");
}

TEST_F(HostileCard, AReceiveProducerThatRunsAwayClosesTheDevice) {
    connect();
    from_bridge(packet(4, true, 9));
    rx().req_prod = 0x80000000;
    notify(last_port());
    closes_with("ran away");
}

TEST_F(HostileCard, AChainWithoutEndClosesTheDevice) {
    connect();
    for (unsigned i = 0; i < 200; ++i) {
        push(request(first_data, 0, NETTXF_more_data, i, i == 0 ? 60000 : 1));
    }
    notify(last_port() - 1);
    closes_with("slots");
}

TEST_F(HostileCard, RingsThatWereNotGrantedAreRefused) {
    offer();
    store.write(front + "/rx-ring-ref", "3999");
    frontend(State::Initialised);
    closes_with("3999");
}

TEST_F(HostileCard, NonsenseInTheStoreIsRefused) {
    const std::pair<const char*, const char*> nodes[] = {
        {"multi-queue-num-queues", "5"}, {"multi-queue-num-queues", "0"}, {"tx-ring-ref", "-1"},
        {"event-channel-rx", ""},        {"request-rx-copy", "0"},        {"feature-rx-notify", "x"},
    };
    write_device();
    start();
    for (const auto& [name, value] : nodes) {
        ASSERT_TRUE(becomes(State::InitWait)) << name;
        store.remove(front + "/multi-queue-num-queues");
        write_frontend();
        store.write(front + "/" + name, value);
        frontend(State::Initialised);
        closes_with(name);
        frontend(State::Closed);
        ASSERT_TRUE(becomes(State::Closed));
        frontend(State::Initialising);
    }
}

TEST_F(CardTest, AFrontendComesBackAHundredTimes) {
    connect();
    for (int i = 0; i < 100; ++i) {
        frontend(State::Closing);
        frontend(State::Closed);
        ASSERT_TRUE(becomes(State::Closed)) << i;
        EXPECT_EQ(grants->mapped, 0u);
        network.host.clear();
        std::memset(grants->page(tx_ring), 0, page_size);
        std::memset(grants->page(rx_ring), 0, page_size);
        frontend(State::Initialising);
        ASSERT_TRUE(becomes(State::InitWait)) << i;
        frontend(State::Initialised);
        ASSERT_TRUE(becomes(State::Connected)) << i;
        frontend(State::Connected);
    }
    settle();
    put(first_data, packet(4, true, 3));
    notify(last_port() - 1);
    EXPECT_EQ(without_header(at_bridge()), packet(4, true, 3));
}

TEST_F(CardTest, ANewProcessGoesOnInTheRings) {
    connect();
    give_buffers(30);
    for (std::uint32_t i = 0; i < 3; ++i) {
        put(first_data + i, packet(4, true, i));
        from_bridge(packet(4, true, i));
    }
    notify(last_port() - 1);
    notify(last_port());
    ASSERT_EQ(tx().rsp_prod, 3u);
    ASSERT_EQ(rx().rsp_prod, 3u);
    kill();
    put(first_data + 3, packet(4, true, 3)); // while nobody serves
    put(first_data + 4, packet(4, true, 4));
    events->notified.clear();
    network.host.clear();
    start();
    ASSERT_TRUE(until([&] { return tx().rsp_prod == 5; }));
    EXPECT_EQ(tx().slots[3].response.status, NETIF_RSP_DROPPED) << "its grant may have been lost";
    EXPECT_EQ(tx().slots[4].response.status, NETIF_RSP_OKAY);
    EXPECT_EQ(without_header(at_bridge()), packet(4, true, 4));
    EXPECT_EQ(mine(), to_text(State::Connected));
    EXPECT_THAT(events->notified, testing::Contains(last_port())) << "an event may have been lost";
    EXPECT_EQ(network.carriers, 2u);
    const auto given_back = rx().rsp_prod;
    from_bridge(packet(4, true, 8));
    EXPECT_EQ(rx().rsp_prod, given_back + 1);
    EXPECT_EQ(rx().slots[given_back].response.status, static_cast<std::int16_t>(packet(4, true, 8).size()));
}

TEST_F(CardTest, TheRateIsSharedOutAmongTheQueues) {
    const Clock::time_point now{};
    EXPECT_FALSE(parse_rate("0,1000", 1, now));
    auto rate = parse_rate("3000,1000", 3, now);
    ASSERT_TRUE(rate);
    EXPECT_TRUE(rate->take(1000, now));
    EXPECT_FALSE(rate->take(1, now));
    for (const char* bad : {"", "1", "1,", "1,0", ",1", "a,b"}) {
        EXPECT_THROW(parse_rate(bad, 1, now), std::runtime_error) << bad;
    }
    for (const char* bad : {"", "00:16:3e:01:02", "00-16-3e-01-02-03", "00:16:3e:01:02:0g", "00:16:3e:01:02:03 "}) {
        EXPECT_THROW(parse_mac(bad), std::runtime_error) << bad;
    }
    EXPECT_EQ(parse_mac("00:16:3E:01:02:03"), guest_mac);
}

TEST_F(CardTest, AThrottledQueueGoesOnLater) {
    store.write(id.path() + "/rate", "70000,20000");
    connect();
    for (std::uint32_t i = 0; i < 40; ++i) { // 160 000 bytes
        put(first_data + i, packet(4, true, 3900));
    }
    notify(last_port() - 1);
    EXPECT_TRUE(until([&] { return tx().rsp_prod == 40; }));
}

} // namespace
} // namespace domus::net::test
