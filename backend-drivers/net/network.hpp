// What a network backend asks of its domain's kernel: tap devices on bridges. Owner: the daemon's main. No lock.
// open_network() is Linux (tun, the ioctls of netdevice(7) and the bridge's); tests put socket pairs in its place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "hypervisor/client/descriptor.hpp"

namespace domus::net {

using client::Descriptor;

/// Work a guest's frontend takes off the tap device's hands.
struct TapOffloads {
    bool checksum = false, tso4 = false, tso6 = false; ///< segmentation needs checksum
};

/// How the interface is to be.
struct Interface {
    std::string name;
    std::string bridge;    ///< empty: on none
    std::uint32_t mtu = 0; ///< 0: as it is
};

/// Members throw std::runtime_error with a message that says what to do.
class Network {
public:
    virtual ~Network() = default;
    /// Makes a tap device, up and with its carrier off: a guest is not there yet. It is gone when the last of its
    /// queues is closed, so nothing is left of a process that died. Refuses a name that is taken: it may be another
    /// guest's. Returns the first queue, a descriptor that does not block.
    virtual Descriptor make(const Interface& interface) = 0;
    /// Another queue of a device that was made.
    virtual Descriptor add_queue(const std::string& name) = 0;
    /// The guest is there. For the whole interface, by any of its queues.
    virtual void carrier_on(int queue, const TapOffloads& offloads) = 0;
};

/// Opens nothing yet. A missing module tun is reported by make().
std::unique_ptr<Network> open_network();

} // namespace domus::net
