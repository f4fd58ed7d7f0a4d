// The other half for tests of the network queues: a page with a ring that a frontend writes, a guest's granted pages,
// and a wire that remembers what went over it. Test code.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "backend-drivers/net/rx_queue.hpp"
#include "backend-drivers/net/tx_queue.hpp"
#include "hypervisor/client/error.hpp"

namespace domus::net::test {

using Bytes = std::vector<std::uint8_t>;

/// Granted pages by reference. Copies are checked as the hypervisor would.
struct FakeGrants : client::Grants {
    std::map<std::uint32_t, Bytes> pages;
    unsigned calls = 0;

    Bytes& grant(std::uint32_t reference) { return pages.emplace(reference, Bytes(page_size)).first->second; }

    void* map(std::uint16_t domid, std::span<const std::uint32_t> references, bool) override {
        const auto page = pages.find(references.front());
        if (references.size() != 1 || page == pages.end()) {
            throw client::Error("map a grant", domid, EINVAL);
        }
        return page->second.data();
    }
    void unmap(void*, std::size_t) noexcept override {}
    void copy(std::uint16_t, std::span<client::GrantCopy> pieces) override {
        ++calls;
        for (auto& piece : pieces) {
            const auto page = pages.find(piece.reference);
            const std::size_t end = std::size_t{piece.offset} + piece.length;
            const std::size_t local = reinterpret_cast<std::uintptr_t>(piece.local) % page_size;
            if (page == pages.end() || end > page_size || local + piece.length > page_size) {
                piece.status = page == pages.end() ? GNTST_bad_gntref : GNTST_bad_copy_arg;
                continue;
            }
            std::uint8_t* there = page->second.data() + piece.offset;
            std::memcpy(piece.to_guest ? there : piece.local, piece.to_guest ? piece.local : there, piece.length);
            piece.status = GNTST_okay;
        }
    }
};

struct FakeWire : Wire {
    struct Frame {
        WireHeader header;
        Bytes bytes;
    };
    std::vector<Frame> sent;
    std::deque<Frame> incoming;
    std::map<std::size_t, int> errors; ///< of send(), by how often packets were tried before
    std::size_t tried = 0;
    unsigned calls = 0;
    std::function<void()> on_send; ///< before each packet

    void send(std::span<Outgoing> packets) override {
        ++calls;
        for (Outgoing& packet : packets) {
            packet.result = send(packet.pieces);
        }
    }
    ssize_t send(std::span<const iovec> pieces) {
        if (on_send) {
            on_send();
        }
        if (const auto error = errors.find(tried++); error != errors.end()) {
            return -error->second;
        }
        Bytes all;
        for (const iovec& piece : pieces) {
            const auto* begin = static_cast<const std::uint8_t*>(piece.iov_base);
            all.insert(all.end(), begin, begin + piece.iov_len);
        }
        Frame frame{};
        std::memcpy(&frame.header, all.data(), sizeof frame.header);
        frame.bytes.assign(all.begin() + sizeof frame.header, all.end());
        sent.push_back(frame);
        return static_cast<ssize_t>(all.size());
    }
    ssize_t receive(std::span<const iovec> pieces) override {
        if (incoming.empty()) {
            return -EAGAIN;
        }
        const Frame frame = incoming.front();
        incoming.pop_front();
        std::memcpy(pieces[0].iov_base, &frame.header, sizeof frame.header);
        const std::size_t length = std::min(frame.bytes.size(), pieces[1].iov_len);
        std::memcpy(pieces[1].iov_base, frame.bytes.data(), length);
        return static_cast<ssize_t>(length + sizeof frame.header);
    }
};

/// A ring's page as a frontend sees it.
template <class Request, class Response>
struct Page {
    struct Shared {
        RingIndex req_prod, req_event, rsp_prod, rsp_event;
        std::uint8_t unused[48];
        union {
            Request request;
            Response response;
        } slots[256];
    };
    alignas(page_size) std::uint8_t memory[page_size] = {};

    Shared& shared() { return *reinterpret_cast<Shared*>(memory); }
    void push(const Request& request) {
        shared().slots[shared().req_prod % 256].request = request;
        ++shared().req_prod;
    }
    const Response& response(RingIndex index) { return shared().slots[index % 256].response; }
};
using TxPage = Page<TxSlot, netif_tx_response_t>;
using RxPage = Page<netif_rx_request_t, netif_rx_response_t>;

inline TxSlot request(std::uint32_t reference, unsigned offset, unsigned flags, unsigned id, unsigned size) {
    TxSlot slot{};
    slot.request = {reference, static_cast<std::uint16_t>(offset), static_cast<std::uint16_t>(flags),
                    static_cast<std::uint16_t>(id), static_cast<std::uint16_t>(size)};
    return slot;
}

inline TxSlot extra(unsigned type, unsigned flags = 0, unsigned gso_size = 0, unsigned gso_type = 0) {
    netif_extra_info_t info{};
    info.type = static_cast<std::uint8_t>(type);
    info.flags = static_cast<std::uint8_t>(flags);
    info.u.gso.size = static_cast<std::uint16_t>(gso_size);
    info.u.gso.type = static_cast<std::uint8_t>(gso_type);
    TxSlot slot{};
    std::memcpy(&slot, &info, sizeof info);
    return slot;
}

inline constexpr Mac guest_mac = {0x00, 0x16, 0x3e, 1, 2, 3};

/// Ethernet, IPv4 or IPv6, TCP or UDP, and `data` bytes that count up.
inline Bytes packet(unsigned version, bool tcp, std::size_t data) {
    Bytes bytes = {0x00, 0x16, 0x3e, 9, 9, 9};
    bytes.insert(bytes.end(), guest_mac.begin(), guest_mac.end());
    const std::size_t transport = tcp ? 20 : 8, length = transport + data;
    const std::uint8_t protocol = tcp ? 6 : 17;
    if (version == 4) {
        bytes.insert(bytes.end(), {0x08,
                                   0x00,
                                   0x45,
                                   0,
                                   static_cast<std::uint8_t>((length + 20) >> 8),
                                   static_cast<std::uint8_t>(length + 20),
                                   0,
                                   1,
                                   0x40,
                                   0,
                                   64,
                                   protocol,
                                   0,
                                   0,
                                   10,
                                   9,
                                   0,
                                   1,
                                   10,
                                   9,
                                   0,
                                   2});
    } else {
        bytes.insert(bytes.end(), {0x86, 0xdd, 0x60, 0, 0, 0, static_cast<std::uint8_t>(length >> 8),
                                   static_cast<std::uint8_t>(length), protocol, 64});
        bytes.resize(bytes.size() + 32, 0xfd);
    }
    const std::size_t at = bytes.size();
    bytes.resize(at + length);
    if (tcp) {
        bytes[at + 12] = 5 << 4;
    }
    for (std::size_t i = 0; i < data; ++i) {
        bytes[at + transport + i] = static_cast<std::uint8_t>(i * 7);
    }
    return bytes;
}

} // namespace domus::net::test
