// A hostile network frontend made of bytes: slots, indices, packets' contents, and garbage written into the ring while
// it is served, and messages on the control ring. Aborts when a packet leaves that no slot can have held, when an
// answer is missing, or when a copy would reach beyond a page; the sanitizers see the rest.
#include <cstdlib>
#include <cstring>

#include <boost/asio/io_context.hpp>

#include "backend-drivers/net/control.hpp"
#include "tests/fuzz/backend-drivers/input.hpp"
#include "tests/unit/backend-drivers/net/frontend.hpp"
#include "tests/unit/hypervisor/client/fake_events.hpp"

namespace {
using namespace domus::net;
using namespace domus::net::test;

using domus::fuzz::demand;
using domus::fuzz::Input;

constexpr std::size_t most_pages = 20; ///< that stay mapped, of one queue

/// Grants whose pages change whenever they are copied, as another vcpu of the guest could do it.
struct WildGrants : FakeGrants {
    void copy(std::uint16_t domid, std::span<domus::client::GrantCopy> pieces) override {
        for (const auto& piece : pieces) {
            demand(std::size_t{piece.offset} + piece.length <= page_size);
            demand(reinterpret_cast<std::uintptr_t>(piece.local) % page_size + piece.length <= page_size);
        }
        FakeGrants::copy(domid, pieces);
        if (meanwhile) {
            meanwhile();
        }
    }
    std::function<void()> meanwhile;
};

void slots(Input& in, TxPage& page, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
        TxSlot slot{};
        in.fill(&slot, sizeof slot);
        if (in.byte() % 4 != 0) { // mostly near to what is right
            slot.request.gref %= 8;
            slot.request.offset %= 2048;
            slot.request.size %= 3000;
            slot.request.flags %= 16;
        }
        page.push(slot);
    }
}

/// What stays mapped of them, for writing or not.
std::unique_ptr<domus::backend::MappedGrants> some_mapped(Input& in, WildGrants& grants) {
    const std::shared_ptr<domus::client::Grants> shared(&grants, [](auto*) {});
    auto mapped = std::make_unique<domus::backend::MappedGrants>(shared, std::uint16_t{1}, most_pages,
                                                                 domus::backend::MappedGrants::Figures{});
    for (unsigned i = in.byte() % 4; i > 0; --i) {
        const std::uint32_t reference = in.byte() % 8u;
        if (!mapped->has(reference)) {
            mapped->add(reference, in.byte() % 2 == 0);
        }
    }
    return mapped;
}

template <class Queue>
void settle(const Queue& queue) {
    for (int turn = 0; turn < 20 && queue() == Turn::More; ++turn) {
    }
}

void transmit(Input& in) {
    TxPage page;
    WildGrants grants;
    FakeWire wire;
    domus::backend::Stats stats;
    const auto count = [&](const char* name) { return stats.count(name); };
    for (std::uint32_t reference = 0; reference < 8; ++reference) {
        const Bytes bytes = packet(reference % 2 == 0 ? 4 : 6, reference % 3 != 0, 1000);
        std::copy(bytes.begin(), bytes.end(), grants.grant(reference).begin());
        in.fill(grants.grant(reference).data() + 12, in.byte() % 64);
    }
    const auto mapped = some_mapped(in, grants);
    TxQueue tx(TxRing(page.memory, page_size), *mapped, wire, {.domid = 1},
               {count("a"), count("b"), count("c"), count("d"), count("e")});
    grants.meanwhile = [&] { in.fill(page.memory + 64 + in.byte() * 12, in.byte() % 24); };
    while (in.left()) {
        slots(in, page, in.byte() % 40);
        page.shared().req_prod += in.byte() == 0 ? in.byte() * 8u : 0; // runs away now and then
        const RingIndex asked = page.shared().req_prod;
        settle([&] { return tx.serve({}); });
        demand(page.shared().rsp_prod == asked);
    }
    for (const auto& frame : wire.sent) {
        demand(frame.bytes.size() >= shortest_packet && frame.bytes.size() <= longest_packet);
        const std::size_t end = std::size_t{frame.header.csum_start} + frame.header.csum_offset + 2;
        demand(frame.header.flags == 0 || end <= frame.bytes.size());
    }
}

void receive(Input& in) {
    RxPage page;
    WildGrants grants;
    FakeWire wire;
    domus::backend::Stats stats;
    const auto count = [&](const char* name) { return stats.count(name); };
    for (std::uint32_t reference = 0; reference < 200; ++reference) {
        grants.grant(reference);
    }
    const std::uint8_t can = in.byte();
    const auto mapped = some_mapped(in, grants);
    RxQueue rx(RxRing(page.memory, page_size), *mapped, wire,
               {.domid = 1,
                .scatter = (can & 1) != 0,
                .checksum4 = (can & 2) != 0,
                .checksum6 = (can & 4) != 0,
                .gso4 = (can & 8) != 0,
                .gso6 = (can & 16) != 0},
               {count("a"), count("b"), count("c"), count("d")});
    grants.meanwhile = [&] { in.fill(page.memory + 64 + in.byte() * 8, in.byte() % 16); };
    while (in.left()) {
        for (unsigned i = in.byte() % 64; i > 0; --i) {
            page.push({.id = in.byte(), .pad = 0, .gref = in.byte()});
        }
        page.shared().req_prod += in.byte() == 0 ? in.byte() * 8u : 0;
        FakeWire::Frame frame{};
        in.fill(&frame.header, sizeof frame.header);
        frame.header.gso_type %= 8;
        frame.bytes = packet(in.byte() % 2 == 0 ? 4 : 6, in.byte() % 2 == 0, in.byte() * 257u % 65000);
        in.fill(frame.bytes.data() + 12, in.byte() % 40);
        wire.incoming.push_back(frame);
        settle([&] { return rx.serve(); });
        demand(page.shared().req_prod - page.shared().rsp_prod <= 256);
    }
}

void message(Input& in, xen_netif_ctrl_request& to) {
    in.fill(&to, sizeof to);
    if (in.byte() % 4 != 0) { // mostly near to what is right
        to.type = static_cast<std::uint16_t>(XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE + to.type % 3);
        to.data[0] %= 3;
        to.data[1] %= 8;
        to.data[2] %= in.byte() % 8 == 0 ? 2000 : 40; // a page's list has 512
    }
}

void lists(Input& in, WildGrants& grants) {
    for (unsigned i = in.byte() % 40; i > 0; --i) {
        xen_netif_gref entry{
            .ref = in.byte() % 70u, .flags = static_cast<std::uint16_t>(in.byte() % 8 / 3), .status = 0};
        std::memcpy(grants.grant(in.byte() % 8).data() + i * sizeof entry, &entry, sizeof entry);
    }
}

/// Two tables, filled and emptied by messages; the pages that hold the lists and the ring change under way.
void control(Input& in) {
    boost::asio::io_context io;
    const auto grants = std::make_shared<WildGrants>();
    for (std::uint32_t reference = 0; reference < 64; ++reference) {
        grants->grant(reference);
    }
    domus::backend::Stats stats;
    domus::backend::MappedGrants first(grants, 1, most_pages, {}), second(grants, 1, most_pages, {});
    auto* ports = new domus::client::test::FakeEvents;
    bool failed = false;
    const ControlPlace place{io.get_executor(),
                             {grants, std::make_shared<domus::client::EventChannels>(
                                          io.get_executor(), std::unique_ptr<domus::client::RawEventChannels>(ports))},
                             1,
                             [&](const std::string&) { failed = true; }};
    const auto served = std::make_shared<Control>(place, ControlNodes{.ring = 63, .port = 1}, in.byte() == 0,
                                                  std::vector{&first, &second}, domus::backend::RingFigures{});
    grants->meanwhile = [&] { in.fill(grants->grant(in.byte() % 64).data() + in.byte(), in.byte() % 24); };
    std::uint8_t* ring = grants->grant(63).data();
    served->start();
    while (in.left() && !failed) {
        lists(in, *grants);
        std::uint32_t produced = 0;
        std::memcpy(&produced, ring, sizeof produced);
        for (unsigned i = in.byte() % 8; i > 0; --i, ++produced) {
            xen_netif_ctrl_request request{};
            message(in, request);
            std::memcpy(ring + 64 + produced % 128 * sizeof request, &request, sizeof request);
        }
        produced += in.byte() == 0 ? in.byte() : 0u; // runs away now and then
        std::memcpy(ring, &produced, sizeof produced);
        ports->fire(ports->last_port);
        io.restart();
        io.poll();
        demand(first.size() <= most_pages && second.size() <= most_pages);
    }
    served->stop();
    io.restart();
    io.poll();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input in(data, size);
    try {
        const auto part = in.byte() % 3;
        if (part == 0) {
            transmit(in);
        } else if (part == 1) {
            receive(in);
        } else {
            control(in);
        }
    } catch (const RingError&) { // the device would be closed
    }
    return 0;
}
