// The control ring of a card: pages that stay mapped, and frontends that abuse it.
#include <gmock/gmock.h>

#include "tests/unit/backend-drivers/net/card.hpp"

namespace domus::net::test {
namespace {

using Request = xen_netif_ctrl_request;
using Response = xen_netif_ctrl_response;
constexpr RingIndex entries = 128;
/// The ring's page as a frontend sees it.
struct ControlPage {
    RingIndex req_prod, req_event, rsp_prod, rsp_event;
    std::uint8_t unused[48];
    union {
        Request request;
        Response response;
    } slots[entries];
};
static_assert(sizeof(ControlPage) <= page_size && ControlRing::entries_in(page_size) == entries);

constexpr std::uint16_t get_size = XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE;
constexpr std::uint16_t add = XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING;
constexpr std::uint16_t del = XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING;
constexpr std::uint32_t success = XEN_NETIF_CTRL_STATUS_SUCCESS;
constexpr std::uint32_t invalid = XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER;
constexpr std::uint16_t readonly = XEN_NETIF_CTRLF_GREF_readonly;

struct ControlTest : CardTest {
    static constexpr std::uint32_t control_ring = 9, list_page = 10;
    std::uint32_t rings = 3; ///< pages mapped with nothing named

    ControlPage& control() { return *reinterpret_cast<ControlPage*>(grants->page(control_ring)); }
    xen_netif_gref* list() { return reinterpret_cast<xen_netif_gref*>(grants->page(list_page)); }
    std::uint32_t control_port() const { return last_port(); }
    std::uint32_t rx_port() const { return last_port() - 1; }
    std::uint32_t tx_port() const { return last_port() - 2; }

    void connect() {
        offer();
        store.write(front + "/ctrl-ring-ref", std::to_string(control_ring));
        store.write(front + "/event-channel-ctrl", "9");
        take();
        ASSERT_EQ(grants->mapped, rings);
    }
    void name(const std::vector<xen_netif_gref>& named) { std::copy(named.begin(), named.end(), list()); }
    /// Puts a message into the ring; nobody is told.
    void put_message(std::uint16_t type, std::uint32_t a = 0, std::uint32_t b = 0, std::uint32_t c = 0) {
        const auto index = control().req_prod++;
        control().slots[index % entries].request = {static_cast<std::uint16_t>(index + 100), type, {a, b, c}};
    }
    Response ask(std::uint16_t type, std::uint32_t a = 0, std::uint32_t b = 0, std::uint32_t c = 0) {
        const auto index = control().req_prod;
        put_message(type, a, b, c);
        notify(control_port());
        EXPECT_TRUE(until([&] { return control().rsp_prod == index + 1; }));
        const Response answer = control().slots[index % entries].response;
        EXPECT_EQ(answer.id, static_cast<std::uint16_t>(index + 100));
        EXPECT_EQ(answer.type, type);
        return answer;
    }
    std::uint32_t add_all(const std::vector<xen_netif_gref>& all, std::uint32_t queue = 0) {
        name(all);
        return ask(add, queue, list_page, static_cast<std::uint32_t>(all.size())).status;
    }
    Response remove_all(const std::vector<xen_netif_gref>& all) {
        name(all);
        return ask(del, 0, list_page, static_cast<std::uint32_t>(all.size()));
    }
    std::size_t named() const { return grants->mapped - rings; }
    /// A packet each way through these two pages; how many grant copies that took.
    unsigned copies_of_a_packet_each_way(std::uint32_t out_page, std::uint32_t in_page) {
        const auto before = grants->copies;
        const Bytes out = packet(4, true, 100), in = packet(6, false, 200);
        put(out_page, out);
        notify(tx_port());
        EXPECT_EQ(without_header(at_bridge()), out);
        const auto index = rx().req_prod++;
        rx().slots[index % 256].request = {static_cast<std::uint16_t>(index), 0, in_page};
        notify(rx_port());
        from_bridge(in);
        EXPECT_EQ(rx().rsp_prod, index + 1);
        EXPECT_EQ(rx().slots[index % 256].response.status, static_cast<std::int16_t>(in.size()));
        EXPECT_TRUE(std::equal(in.begin(), in.end(), grants->page(in_page)));
        return grants->copies - before;
    }
};

TEST_F(ControlTest, IsOfferedAndNotNeeded) {
    offer();
    EXPECT_EQ(store.read(id.path() + "/feature-ctrl-ring"), "1");
    take();
    EXPECT_EQ(grants->mapped, 2u) << "a frontend without one";
}

TEST_F(ControlTest, HashingIsAClearNo) {
    connect();
    for (const std::uint16_t type : {0, 1, 2, 3, 4, 5, 6, 7, 11, 65535}) {
        EXPECT_EQ(ask(type, 1, list_page, 1).status, std::uint32_t{XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED}) << type;
    }
}

TEST_F(ControlTest, PacketsInNamedPagesTakeNoGrantCopy) {
    connect();
    const auto size = ask(get_size);
    EXPECT_EQ(size.status, success);
    EXPECT_EQ(size.data, most_mapped);
    EXPECT_EQ(copies_of_a_packet_each_way(20, 21), 2u);
    EXPECT_EQ(add_all({{20, readonly, 0}, {21, 0, 0}}), success);
    EXPECT_EQ(named(), 2u);
    EXPECT_EQ(copies_of_a_packet_each_way(20, 21), 0u);
    EXPECT_EQ(copies_of_a_packet_each_way(20, 22), 1u);
    const auto gone = remove_all({{20, 0, 9}, {21, 0, 9}});
    EXPECT_EQ(gone.status, success);
    EXPECT_EQ(gone.data, 2u);
    EXPECT_EQ(list()[0].status, success);
    EXPECT_EQ(named(), 0u);
    EXPECT_EQ(copies_of_a_packet_each_way(20, 21), 2u);
}

TEST_F(ControlTest, OneBatchMayMixThem) {
    connect();
    ASSERT_EQ(add_all({{20, readonly, 0}}), success);
    const auto before = grants->copies;
    put(20, packet(4, true, 1));
    put(21, packet(4, true, 2));
    std::copy_n(packet(4, true, 200).begin(), 100, grants->page(20) + 1000); // one packet in both
    std::copy_n(packet(4, true, 200).begin() + 100, 154, grants->page(21) + 1000);
    push(request(20, 1000, NETTXF_more_data, 1, 254));
    push(request(21, 1000, 0, 2, 154));
    notify(tx_port());
    EXPECT_EQ(grants->copies - before, 1u);
    EXPECT_EQ(without_header(at_bridge()), packet(4, true, 1));
    EXPECT_EQ(without_header(at_bridge()), packet(4, true, 2));
    EXPECT_EQ(without_header(at_bridge()), packet(4, true, 200));
}

TEST_F(ControlTest, EachQueueHasItsOwn) {
    rings = 5;
    offer();
    store.write(front + "/multi-queue-num-queues", "2");
    write_queue("queue-0/", 0);
    write_queue("queue-1/", 4);
    store.write(front + "/ctrl-ring-ref", std::to_string(control_ring));
    store.write(front + "/event-channel-ctrl", "9");
    take();
    ASSERT_EQ(grants->mapped, rings);
    EXPECT_EQ(add_all({{20, 0, 0}}, 0), success);
    EXPECT_EQ(add_all({{20, 0, 0}}, 1), success);
    EXPECT_EQ(add_all({{20, 0, 0}}, 2), invalid);
    EXPECT_EQ(ask(get_size, 2).status, invalid);
    EXPECT_EQ(named(), 2u);
}

struct HostileControl : ControlTest {
    void closes_with(const std::string& reason) {
        ASSERT_TRUE(becomes(State::Closing)) << error();
        EXPECT_THAT(error(), testing::HasSubstr(reason));
        EXPECT_EQ(grants->mapped, 0u);
    }
};

TEST_F(HostileControl, AListIsTakenWholeOrNotAtAll) {
    connect();
    EXPECT_EQ(add_all({{20, 0, 0}, {21, 0, 0}, {20, 0, 0}}), invalid) << "twice in one list";
    EXPECT_EQ(named(), 0u);
    EXPECT_EQ(add_all({{20, 0, 0}, {4000, 0, 0}}), invalid) << "no such grant";
    EXPECT_EQ(named(), 0u);
    EXPECT_EQ(add_all({{20, 2, 0}}), invalid) << "a flag that is none";
    grants->grant(23, false);
    EXPECT_EQ(add_all({{20, 0, 0}, {23, 0, 0}}), invalid) << "read-only, and said to be writable";
    EXPECT_EQ(named(), 0u);
    EXPECT_EQ(add_all({{20, 0, 0}}), success);
    EXPECT_EQ(add_all({{21, 0, 0}, {20, 0, 0}}), invalid) << "there already";
    EXPECT_EQ(named(), 1u);
    EXPECT_EQ(copies_of_a_packet_each_way(20, 20), 0u);
}

TEST_F(HostileControl, AListOfNonsenseIsRefused) {
    connect();
    name({{20, 0, 0}});
    for (const std::uint16_t type : {add, del}) {
        EXPECT_EQ(ask(type, 0, 4000, 1).status, invalid) << "no such page";
        EXPECT_EQ(ask(type, 0, list_page, 0).status, invalid);
        EXPECT_EQ(ask(type, 0, list_page, 513).status, invalid) << "longer than its page";
        EXPECT_EQ(ask(type, 0, list_page, 0xffffffff).status, invalid);
        EXPECT_EQ(ask(type, 0xffffffff, list_page, 1).status, invalid) << "no such queue";
    }
    EXPECT_EQ(named(), 0u);
    EXPECT_EQ(mine(), to_text(State::Connected));
}

TEST_F(HostileControl, TheTableIsBounded) {
    connect();
    std::vector<xen_netif_gref> all;
    for (std::uint32_t i = 0; i < most_mapped; ++i) {
        all.push_back({100 + i, 0, 0});
    }
    EXPECT_EQ(add_all(all), success);
    EXPECT_EQ(named(), most_mapped);
    EXPECT_EQ(add_all({{20, 0, 0}}), std::uint32_t{XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW});
    const auto some = remove_all({{100, 0, 0}, {20, 0, 0}, {100, 0, 0}, {101, 0, 0}});
    EXPECT_EQ(some.status, success);
    EXPECT_EQ(some.data, 2u);
    EXPECT_EQ(list()[0].status, success);
    EXPECT_EQ(list()[1].status, invalid) << "never added";
    EXPECT_EQ(list()[2].status, invalid) << "gone by now";
    EXPECT_EQ(list()[3].status, success);
    EXPECT_EQ(add_all({{20, 0, 0}, {21, 0, 0}, {22, 0, 0}}), std::uint32_t{XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW});
    EXPECT_EQ(add_all({{20, 0, 0}, {21, 0, 0}}), success);
    EXPECT_EQ(named(), most_mapped);
}

TEST_F(HostileControl, AReadOnlyListCannotBeAnswered) {
    connect();
    ASSERT_EQ(add_all({{20, 0, 0}}), success);
    grants->grant(list_page, false);
    const auto gone = remove_all({{20, 0, 77}});
    EXPECT_EQ(gone.status, invalid);
    EXPECT_EQ(gone.data, 1u);
    EXPECT_EQ(list()[0].status, 77);
    EXPECT_EQ(named(), 0u);
}

TEST_F(HostileControl, AReadOnlyPageIsNoBuffer) {
    connect();
    grants->grant(23, false);
    ASSERT_EQ(add_all({{23, readonly, 0}}), success);
    rx().slots[0].request = {0, 0, 23};
    rx().req_prod = 1;
    notify(rx_port());
    from_bridge(packet(4, true, 9));
    EXPECT_EQ(rx().rsp_prod, 1u);
    EXPECT_EQ(rx().slots[0].response.status, NETIF_RSP_ERROR);
    EXPECT_EQ(mine(), to_text(State::Connected));
}

TEST_F(HostileControl, WhatIsRevokedOrDeletedUnderWayStillArrives) {
    connect();
    ASSERT_EQ(add_all({{20, 0, 0}}), success);
    grants->revoke(20);
    put(20, packet(4, true, 5));
    notify(tx_port());
    EXPECT_EQ(without_header(at_bridge()), packet(4, true, 5));
    grants->grant(20);
    put(20, packet(4, true, 6)); // nobody has looked yet
    name({{20, 0, 0}});
    put_message(del, 0, list_page, 1);
    events->fire(control_port());
    notify(tx_port());
    EXPECT_TRUE(until([&] { return control().rsp_prod == 2 && tx().rsp_prod == 2; }));
    EXPECT_EQ(without_header(at_bridge()), packet(4, true, 6));
    EXPECT_EQ(named(), 0u);
}

TEST_F(HostileControl, AProducerThatRunsAwayClosesTheDevice) {
    connect();
    ASSERT_EQ(add_all({{20, 0, 0}}), success);
    control().req_prod += entries + 1;
    notify(control_port());
    closes_with("ran away");
}

TEST_F(HostileControl, ARingThatWasNotGrantedIsRefusedAndAFrontendThatDoesWithoutIsServed) {
    offer();
    store.write(front + "/ctrl-ring-ref", "4000");
    store.write(front + "/event-channel-ctrl", "9");
    frontend(State::Initialised);
    closes_with("4000");
    store.remove(front + "/ctrl-ring-ref");
    frontend(State::Closed);
    ASSERT_TRUE(becomes(State::Closed));
    frontend(State::Initialising);
    ASSERT_TRUE(becomes(State::InitWait));
    take();
    EXPECT_EQ(grants->mapped, 2u);
}

TEST_F(HostileControl, ARingWithoutItsEventChannelIsRefused) {
    offer();
    store.write(front + "/ctrl-ring-ref", std::to_string(control_ring));
    frontend(State::Initialised);
    closes_with("event-channel-ctrl");
}

TEST_F(HostileControl, AFullRingIsAnsweredWholeWhileTheCardWorks) {
    connect();
    for (unsigned i = 0; i < entries; ++i) {
        name({{20, 0, 0}});
        put_message(i % 2 == 0 ? add : del, 0, list_page, 1);
    }
    put(21, packet(4, true, 5));
    events->fire(tx_port());
    notify(control_port());
    EXPECT_TRUE(until([&] { return control().rsp_prod == entries; }));
    EXPECT_EQ(without_header(at_bridge()), packet(4, true, 5));
    for (unsigned i = 0; i < entries; ++i) {
        EXPECT_EQ(control().slots[i].response.status, success) << i;
    }
    EXPECT_EQ(named(), 0u);
}

TEST_F(ControlTest, AFrontendThatClosesMidwayLeavesNothing) {
    connect();
    std::vector<xen_netif_gref> all;
    for (std::uint32_t i = 0; i < most_mapped; ++i) {
        all.push_back({100 + i, 0, 0});
    }
    for (int i = 0; i < 20; ++i) {
        name(all);
        put_message(add, 0, list_page, most_mapped);
        events->fire(control_port());
        ASSERT_TRUE(until([&] { return named() != 0; }));
        EXPECT_LT(named(), most_mapped) << "between two turns";
        frontend(State::Closing);
        frontend(State::Closed);
        ASSERT_TRUE(becomes(State::Closed)) << i;
        EXPECT_EQ(grants->mapped, 0u);
        for (const auto page : {tx_ring, rx_ring, control_ring}) {
            std::memset(grants->page(page), 0, page_size);
        }
        frontend(State::Initialising);
        ASSERT_TRUE(becomes(State::InitWait)) << i;
        take();
        ASSERT_EQ(grants->mapped, rings) << i;
    }
}

TEST_F(ControlTest, ANewProcessBelievesNothingToBeMapped) {
    connect();
    ASSERT_EQ(add_all({{20, readonly, 0}, {21, 0, 0}}), success);
    EXPECT_EQ(copies_of_a_packet_each_way(20, 21), 0u);
    for (unsigned i = 0; i < 30; ++i) { // what a new process gives back unused
        const auto index = rx().req_prod++;
        rx().slots[index % 256].request = {static_cast<std::uint16_t>(index), 0, 300 + i};
    }
    kill();
    EXPECT_EQ(grants->mapped, 0u);
    name({{22, 0, 0}});
    put_message(add, 0, list_page, 1); // while nobody serves
    put(30, packet(4, true, 1));
    network.host.clear();
    start();
    ASSERT_TRUE(until([&] { return control().rsp_prod == 2; }));
    EXPECT_EQ(named(), 1u);
    EXPECT_EQ(control().slots[1].response.status, success);
    put(20, packet(4, true, 7));
    const auto before = grants->copies;
    notify(tx_port());
    EXPECT_EQ(without_header(at_bridge()), packet(4, true, 7));
    EXPECT_EQ(grants->copies - before, 1u) << "the grant is as good as ever";
    const auto gone = remove_all({{20, 0, 0}, {22, 0, 0}});
    EXPECT_EQ(gone.data, 1u);
    EXPECT_EQ(list()[0].status, invalid);
    EXPECT_EQ(add_all({{20, readonly, 0}}), success);
}

} // namespace
} // namespace domus::net::test
