// Network interfaces in dom0's Linux, by the ioctls of netdevice(7) and the bridge's. No lock.
#include "toolstack/engine/descriptor.hpp"
#include "toolstack/engine/linux_host.hpp"

#include <fmt/format.h>
#include <fstream>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdexcept>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace domus::engine {

namespace {

class InterfaceRequest {
public:
    explicit InterfaceRequest(const std::string& name) : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        if (!socket_)
            throw std::runtime_error(fmt::format("cannot open a socket to set up {}: {}", name, errno_text()));
        use(name);
    }

    void use(const std::string& name) {
        request = {};
        name.copy(request.ifr_name, IFNAMSIZ - 1);
    }

    void call(unsigned long what, const std::string& doing) {
        if (::ioctl(socket_.get(), what, &request) != 0)
            throw std::runtime_error(fmt::format("{}: {}", doing, errno_text()));
    }

    struct ifreq request = {};

private:
    Descriptor socket_;
};

} // namespace

bool LinuxHost::is_bridge(const std::string& name) {
    return ::access(fmt::format("/sys/class/net/{}/bridge", name).c_str(), F_OK) == 0;
}

bool LinuxHost::has_interface(const std::string& name) {
    return ::access(("/sys/class/net/" + name).c_str(), F_OK) == 0;
}

std::uint32_t LinuxHost::interface_mtu(const std::string& name) {
    std::ifstream file(fmt::format("/sys/class/net/{}/mtu", name));
    std::uint32_t mtu = 0;
    file >> mtu;
    return mtu;
}

std::string LinuxHost::connect_interface(const std::string& name, const model::Vif& vif) {
    InterfaceRequest interface(name);
    std::string final_name = name;
    if (!vif.vifname.empty() && vif.vifname != name) {
        vif.vifname.copy(interface.request.ifr_newname, IFNAMSIZ - 1);
        interface.call(SIOCSIFNAME, fmt::format("renaming {} to {} (is the name taken?)", name, vif.vifname));
        final_name = vif.vifname;
        interface.use(final_name);
    }
    if (vif.mtu) {
        interface.request.ifr_mtu = int(*vif.mtu);
        interface.call(SIOCSIFMTU, fmt::format("setting the MTU of {} to {}", final_name, *vif.mtu));
        interface.use(final_name);
    }
    if (!vif.bridge.empty()) {
        const unsigned index = ::if_nametoindex(final_name.c_str());
        interface.use(vif.bridge);
        interface.request.ifr_ifindex = int(index);
        interface.call(SIOCBRADDIF, fmt::format("putting {} on bridge {}", final_name, vif.bridge));
        interface.use(final_name);
    }
    interface.call(SIOCGIFFLAGS, fmt::format("asking whether {} is up", final_name));
    interface.request.ifr_flags = short(interface.request.ifr_flags | IFF_UP);
    interface.call(SIOCSIFFLAGS, fmt::format("bringing {} up", final_name));
    return final_name;
}

} // namespace domus::engine
