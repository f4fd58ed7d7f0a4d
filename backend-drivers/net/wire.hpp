// The seam between a queue and the host's network: one queue of a tap device, or a fake. Owner: the device's driver.
// No lock, one thread. Tap (tap.hpp) is the real one.
#pragma once

#include <span>

#include <sys/types.h>
#include <sys/uio.h>

namespace domus::net {

class Wire {
public:
    virtual ~Wire() = default;
    /// Sends one packet; the first piece is its WireHeader. Returns the bytes sent, or a negative errno; the packet is
    /// lost then.
    virtual ssize_t send(std::span<const iovec> pieces) = 0;
    /// Receives one packet in the same form. Returns its bytes with the header, or a negative errno: EAGAIN when there
    /// is none.
    virtual ssize_t receive(std::span<const iovec> pieces) = 0;
};

} // namespace domus::net
