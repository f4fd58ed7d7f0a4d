// The seam between a queue and the host's network: one queue of a tap device, or a fake. Owner: the device's driver.
// No lock, one thread. Tap (tap.hpp) is the real one.
#pragma once

#include <span>

#include <sys/types.h>
#include <sys/uio.h>

namespace domus::net {

/// A packet on its way: its WireHeader stands at the beginning of the first piece.
struct Outgoing {
    std::span<const iovec> pieces;
    ssize_t result = 0; ///< the bytes sent, or a negative errno; the packet is lost then
};

class Wire {
public:
    virtual ~Wire() = default;
    /// Sends packets in their order. None is still on its way when it returns, and each has its result: one that is
    /// lost does not hold up the others.
    virtual void send(std::span<Outgoing> packets) = 0;
    /// Receives one packet in the same form. Returns its bytes with the header, or a negative errno: EAGAIN when there
    /// is none.
    virtual ssize_t receive(std::span<const iovec> pieces) = 0;
};

} // namespace domus::net
