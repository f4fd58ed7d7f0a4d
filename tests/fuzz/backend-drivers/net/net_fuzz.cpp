// A hostile network frontend made of bytes: slots, indices, packets' contents, and garbage written into the ring while
// it is served. Aborts when a packet leaves that no slot can have held, when an answer is missing, or when a copy would
// reach beyond a page; the sanitizers see the rest.
#include <cstdlib>
#include <cstring>

#include "tests/fuzz/backend-drivers/input.hpp"
#include "tests/unit/backend-drivers/net/frontend.hpp"

namespace {
using namespace domus::net;
using namespace domus::net::test;

using domus::fuzz::demand;
using domus::fuzz::Input;

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
    TxQueue tx(TxRing(page.memory, page_size), grants, wire, {.domid = 1},
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
    RxQueue rx(RxRing(page.memory, page_size), grants, wire,
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

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input in(data, size);
    try {
        if (in.byte() % 2 == 0) {
            transmit(in);
        } else {
            receive(in);
        }
    } catch (const RingError&) { // the device would be closed
    }
    return 0;
}
