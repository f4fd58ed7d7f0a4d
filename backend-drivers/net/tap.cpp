// See tap.hpp.
#include "backend-drivers/net/tap.hpp"

#include <cerrno>

namespace domus::net {

void Tap::send(std::span<Outgoing> packets) {
    const bool many = packets.size() > 1 && ring_.open(); // for one packet the plain call costs less
    if (many) {
        ring_.send(stream_.native_handle(), packets);
    }
    for (Outgoing& packet : packets) {
        if (!many || packet.result == PacketRing::not_sent) {
            const ssize_t sent =
                ::writev(stream_.native_handle(), packet.pieces.data(), static_cast<int>(packet.pieces.size()));
            packet.result = sent < 0 ? -errno : sent;
        }
    }
}

ssize_t Tap::receive(std::span<const iovec> pieces) {
    const ssize_t got = ::readv(stream_.native_handle(), pieces.data(), static_cast<int>(pieces.size()));
    return got < 0 ? -errno : got != 0 ? got : -ENODEV; // no packet is empty: the other side is gone
}

} // namespace domus::net
