// See network.hpp: tap devices of the kernel's tun driver (Documentation/networking/tuntap.rst). No lock.
#include "backend-drivers/net/network.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <fmt/format.h>

namespace domus::net {
namespace {

[[noreturn]] void fail(const std::string& doing) {
    throw std::runtime_error(fmt::format("{}: {}", doing, std::strerror(errno)));
}

ifreq request_for(const std::string& name) {
    if (name.empty() || name.size() >= IFNAMSIZ) {
        throw std::runtime_error(
            fmt::format("'{}' cannot name an interface: 1 to {} characters are allowed", name, IFNAMSIZ - 1));
    }
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    return request;
}

class LinuxNetwork final : public Network {
public:
    Descriptor make(const Interface& interface) override {
        Descriptor queue = open_queue(interface.name, IFF_TUN_EXCL);
        const int carrier = 0;
        if (::ioctl(queue.get(), TUNSETCARRIER, &carrier) != 0) {
            fail(fmt::format("taking the carrier of {} away", interface.name));
        }
        set_up(interface);
        return queue;
    }

    Descriptor add_queue(const std::string& name) override { return open_queue(name, 0); }

    void carrier_on(int queue, const TapOffloads& offloads) override {
        const unsigned wanted = (offloads.checksum ? TUN_F_CSUM : 0u) | (offloads.tso4 ? TUN_F_TSO4 : 0u) |
                                (offloads.tso6 ? TUN_F_TSO6 : 0u);
        if (::ioctl(queue, TUNSETOFFLOAD, static_cast<unsigned long>(wanted)) != 0) {
            fail("setting the tap device's offloads");
        }
        const int carrier = 1;
        if (::ioctl(queue, TUNSETCARRIER, &carrier) != 0) {
            fail("giving the tap device its carrier");
        }
    }

private:
    static Descriptor open_queue(const std::string& name, int more_flags) {
        Descriptor queue(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
        if (!queue) {
            fail("open /dev/net/tun (is the kernel's module tun loaded, and may everybody open it, as with udev?)");
        }
        ifreq request = request_for(name);
        const int flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE | more_flags;
        request.ifr_flags = static_cast<short>(flags); // IFF_TUN_EXCL is the sign bit
        if (::ioctl(queue.get(), TUNSETIFF, &request) != 0) {
            fail(fmt::format("making the tap device {} (is the name taken by another interface?)", name));
        }
        return queue;
    }

    static void set_up(const Interface& interface) {
        const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        const auto call = [&](unsigned long what, ifreq& request, const char* doing) {
            if (::ioctl(socket.get(), what, &request) != 0) {
                fail(fmt::format("{} of interface {}", doing, interface.name));
            }
        };
        ifreq address = request_for(interface.name);
        // A bridge takes the lowest address of its ports for its own: it must not take that of a port that goes.
        address.ifr_hwaddr = {.sa_family = ARPHRD_ETHER, .sa_data = {'\xfe', '\xff', '\xff', '\xff', '\xff', '\xff'}};
        call(SIOCSIFHWADDR, address, "setting the address");
        if (interface.mtu != 0) {
            ifreq mtu = request_for(interface.name);
            mtu.ifr_mtu = static_cast<int>(interface.mtu);
            call(SIOCSIFMTU, mtu, "setting the MTU");
        }
        if (!interface.bridge.empty()) {
            join(socket.get(), interface);
        }
        ifreq flags = request_for(interface.name);
        call(SIOCGIFFLAGS, flags, "asking for the flags");
        flags.ifr_flags = static_cast<short>(flags.ifr_flags | IFF_UP);
        call(SIOCSIFFLAGS, flags, "bringing up");
    }

    static void join(int socket, const Interface& interface) {
        ifreq request = request_for(interface.bridge);
        request.ifr_ifindex = static_cast<int>(::if_nametoindex(interface.name.c_str()));
        if (::ioctl(socket, SIOCBRADDIF, &request) != 0) {
            const bool other = errno == EOPNOTSUPP; // an interface it is, but no bridge
            fail(fmt::format("putting {} on bridge {} ({})", interface.name, interface.bridge,
                             other ? "it is no bridge of Linux's; Open vSwitch's serve cards of dom0 only"
                                   : "is there such a bridge?"));
        }
    }
};

} // namespace

std::unique_ptr<Network> open_network() {
    return std::make_unique<LinuxNetwork>();
}

} // namespace domus::net
