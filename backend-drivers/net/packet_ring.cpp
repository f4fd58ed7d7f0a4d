// See packet_ring.hpp; io_uring_enter(2), and io_uring_prep_cancel(3).
#include "backend-drivers/net/packet_ring.hpp"

#include <algorithm>
#include <cerrno>

namespace domus::net {
namespace {

constexpr unsigned entries = 64; // a batch of TxQueue
constexpr std::uint64_t no_packet = ~std::uint64_t{0};

} // namespace

PacketRing::PacketRing() : open_(::io_uring_queue_init(entries, &ring_, IORING_SETUP_SUBMIT_ALL) == 0) {}

void PacketRing::close() {
    if (open_) {
        ::io_uring_queue_exit(&ring_); // with what was not taken
    }
    open_ = false;
}

void PacketRing::send(int tap, std::span<Outgoing> packets) {
    for (Outgoing& packet : packets) {
        packet.result = not_sent;
    }
    while (open_ && !packets.empty()) {
        const auto some = packets.first(std::min<std::size_t>(packets.size(), entries));
        submit(tap, some);
        packets = packets.subspan(some.size());
    }
}

void PacketRing::submit(int tap, std::span<Outgoing> packets) {
    for (std::size_t i = 0; i < packets.size(); ++i) {
        io_uring_sqe* const entry = ::io_uring_get_sqe(&ring_); // there are as many, and all are free
        const std::span<const iovec> pieces = packets[i].pieces;
        if (pieces.size() == 1) {
            ::io_uring_prep_write(entry, tap, pieces[0].iov_base, static_cast<unsigned>(pieces[0].iov_len), 0);
        } else {
            ::io_uring_prep_writev(entry, tap, pieces.data(), static_cast<unsigned>(pieces.size()), 0);
        }
        ::io_uring_sqe_set_data64(entry, i);
    }
    on_their_way_ = packets.size();
    if (::io_uring_submit(&ring_) != static_cast<int>(packets.size())) {
        reap(packets);
        close();
        return;
    }
    reap(packets);
    if (on_their_way_ != 0) {
        take_back(packets);
    }
}

/// The tap is full: the kernel would write the rest when there is room. It shall not, the packets are lost.
void PacketRing::take_back(std::span<Outgoing> packets) {
    io_uring_sqe* const entry = ::io_uring_get_sqe(&ring_);
    ::io_uring_prep_cancel64(entry, 0, IORING_ASYNC_CANCEL_ANY);
    ::io_uring_sqe_set_data64(entry, no_packet);
    while (on_their_way_ != 0) {
        const int taken = ::io_uring_submit_and_wait(&ring_, 1);
        if (taken < 0 && taken != -EINTR) {
            close();
            return;
        }
        reap(packets);
    }
}

void PacketRing::reap(std::span<Outgoing> packets) {
    io_uring_cqe* entry = nullptr;
    while (::io_uring_peek_cqe(&ring_, &entry) == 0) {
        const std::uint64_t packet = entry->user_data;
        if (packet < packets.size()) {
            packets[packet].result = entry->res == -ECANCELED ? -EAGAIN : entry->res;
            --on_their_way_;
        }
        ::io_uring_cqe_seen(&ring_, entry);
    }
}

} // namespace domus::net
