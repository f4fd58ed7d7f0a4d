// See tap.hpp.
#include "backend-drivers/net/tap.hpp"

#include <cerrno>

namespace domus::net {

ssize_t Tap::send(std::span<const iovec> pieces) {
    const ssize_t sent = ::writev(stream_.native_handle(), pieces.data(), static_cast<int>(pieces.size()));
    return sent < 0 ? -errno : sent;
}

ssize_t Tap::receive(std::span<const iovec> pieces) {
    const ssize_t got = ::readv(stream_.native_handle(), pieces.data(), static_cast<int>(pieces.size()));
    return got < 0 ? -errno : got != 0 ? got : -ENODEV; // no packet is empty: the other side is gone
}

} // namespace domus::net
