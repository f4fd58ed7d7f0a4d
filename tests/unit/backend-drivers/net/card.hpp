// A network card in one process: the daemon's Vif in its Device, a real store, a socket pair in the tap's place, and a
// frontend's rings in a guest's memory. Test code.
#pragma once

#include <sys/socket.h>

#include "backend-drivers/net/vif.hpp"
#include "tests/unit/backend-drivers/common/device_world.hpp"
#include "tests/unit/backend-drivers/net/frontend.hpp"

namespace domus::net::test {

using backend::State;

struct FakeNetwork : Network {
    std::vector<Descriptor> host; ///< the bridge's end of each queue, in the order they were opened
    std::vector<std::string> names;
    Interface plugged;
    TapOffloads offloads;
    unsigned carriers = 0;

    Descriptor make(const Interface& interface) override {
        plugged = interface;
        return add_queue(interface.name);
    }
    Descriptor add_queue(const std::string& name) override {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
            throw std::runtime_error("socketpair");
        }
        names.push_back(name);
        host.emplace_back(ends[0]);
        return Descriptor(ends[1]);
    }
    void carrier_on(int, const TapOffloads& wanted) override {
        offloads = wanted;
        ++carriers;
    }
};

/// A ring's page in the guest's memory.
template <class P>
typename P::Shared& ring_of(std::uint8_t* page) {
    return *reinterpret_cast<typename P::Shared*>(page);
}

struct CardTest : backend::test::DeviceWorld {
    static constexpr std::uint32_t tx_ring = 1, rx_ring = 2, first_data = 16; // grant references
    FakeNetwork network;
    std::string prefix; ///< where the first queue's nodes stand

    CardTest() {
        id = {"/local/domain/0", device_type, 3, 0};
        front = "/local/domain/3/device/vif/0";
        grant_pages();
    }
    ~CardTest() override { kill(); }

    std::unique_ptr<backend::Driver> make(backend::Device& made) override {
        return std::make_unique<Vif>(made, network, "");
    }
    void write_frontend() {
        for (const auto* feature : {"request-rx-copy", "feature-rx-notify", "feature-sg", "feature-gso-tcpv4",
                                    "feature-gso-tcpv6", "feature-ipv6-csum-offload"}) {
            store.write(front + "/" + feature, "1");
        }
        write_queue("", 0);
    }
    void write_queue(const std::string& where, std::uint32_t more) {
        store.write(front + "/" + where + "tx-ring-ref", std::to_string(tx_ring + more));
        store.write(front + "/" + where + "rx-ring-ref", std::to_string(rx_ring + more));
        store.write(front + "/" + where + "event-channel-tx", std::to_string(5 + more));
        store.write(front + "/" + where + "event-channel-rx", std::to_string(6 + more));
    }
    void offer() {
        write_device();
        store.write(id.path() + "/mac", "00:16:3e:01:02:03");
        store.write(id.path() + "/bridge", "xenbr0");
        start();
        ASSERT_TRUE(becomes(State::InitWait));
        write_frontend();
    }
    void connect() {
        offer();
        take();
    }

    TxPage::Shared& tx(std::uint32_t more = 0) { return ring_of<TxPage>(grants->page(tx_ring + more)); }
    RxPage::Shared& rx(std::uint32_t more = 0) { return ring_of<RxPage>(grants->page(rx_ring + more)); }
    void push(const TxSlot& slot) { tx().slots[tx().req_prod++ % 256].request = slot; }
    void notify(std::uint32_t port) {
        events->fire(port);
        settle();
    }
    /// The ports as the fake numbers them, in the order of binding.
    std::uint32_t last_port() const { return events->last_port; }

    void put(std::uint32_t reference, const Bytes& bytes, unsigned flags = 0) {
        std::copy(bytes.begin(), bytes.end(), grants->page(reference));
        push(request(reference, 0, flags, reference, static_cast<unsigned>(bytes.size())));
    }
    void give_buffers(unsigned count, std::uint32_t more = 0) {
        for (unsigned i = 0; i < count; ++i) {
            const auto index = rx(more).req_prod++;
            rx(more).slots[index % 256].request = {static_cast<std::uint16_t>(index), 0,
                                                   first_data + 256 + index % 256};
        }
    }
    /// What has arrived at the bridge's end: header and packet; empty when nothing has.
    Bytes at_bridge(std::size_t queue = 0) {
        Bytes bytes(70000);
        const ssize_t got = ::read(network.host.at(queue).get(), bytes.data(), bytes.size());
        bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return bytes;
    }
    void from_bridge(const Bytes& packet, WireHeader header = {}, std::size_t queue = 0) {
        Bytes bytes(sizeof header);
        std::memcpy(bytes.data(), &header, sizeof header);
        bytes.insert(bytes.end(), packet.begin(), packet.end());
        EXPECT_EQ(::write(network.host.at(queue).get(), bytes.data(), bytes.size()),
                  static_cast<ssize_t>(bytes.size()));
        settle();
    }
};

inline Bytes without_header(const Bytes& bytes) {
    return bytes.size() < sizeof(WireHeader) ? Bytes{} : Bytes(bytes.begin() + sizeof(WireHeader), bytes.end());
}

} // namespace domus::net::test
