// Many packets to a tap device by one system call: an io_uring, one for each tap. Owner: a Tap. No lock, one thread.
// The kernel works on the packets while it is called. That spares more than calls: a program of dom0 that waits for the
// packets gets the CPU after the batch, not after its first packet.
#pragma once

#include <span>

#include <liburing.h>

#include "backend-drivers/net/wire.hpp"

namespace domus::net {

class PacketRing {
public:
    PacketRing();
    PacketRing(const PacketRing&) = delete;
    PacketRing& operator=(const PacketRing&) = delete;
    ~PacketRing() { close(); }

    /// False: the kernel has none, forbids it, or has broken it off.
    bool open() const { return open_; }
    /// As Wire::send(), to a descriptor that does not block. Where the kernel breaks off, the ring closes, and packets
    /// whose result is not known keep not_sent.
    void send(int tap, std::span<Outgoing> packets);
    void close();

    static constexpr ssize_t not_sent = -EINPROGRESS;

private:
    void submit(int tap, std::span<Outgoing> packets);
    void take_back(std::span<Outgoing> packets);
    void reap(std::span<Outgoing> packets);

    io_uring ring_{};
    std::size_t on_their_way_ = 0;
    bool open_ = false;
};

} // namespace domus::net
