// dom0's Linux: files, drivers, names. No lock. See linux_disk.cpp and linux_network.cpp for devices.
#include "toolstack/engine/linux_host.hpp"

#include "toolstack/engine/descriptor.hpp"

#include <ctime>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdexcept>
#include <sys/stat.h>
#include <sys/utsname.h>

namespace domus::engine {

void LinuxHost::require_file(const std::string& path, const std::string& what) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat info;
    if (!file)
        throw std::runtime_error(
            fmt::format("{} {} cannot be read: {}; check {}= in the configuration", what, path, errno_text(), what));
    if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0)
        throw std::runtime_error(fmt::format("{} {} is {}; check {}= in the configuration", what, path,
                                             S_ISREG(info.st_mode) ? "empty" : "not a regular file", what));
}

bool LinuxHost::has_backend_driver(const std::string& kind) {
    return ::access(("/sys/bus/xen-backend/drivers/" + kind).c_str(), F_OK) == 0;
}

bool LinuxHost::block_backend_open(std::uint16_t domid, std::uint32_t devid) {
    // xen-blkback makes this file when it has opened the device.
    return ::access(fmt::format("/sys/bus/xen-backend/devices/vbd-{}-{}/physical_device", domid, devid).c_str(),
                    F_OK) == 0;
}

Uname LinuxHost::uname() {
    struct utsname name = {};
    ::uname(&name);
    return {name.nodename, name.release, name.version, name.machine};
}

std::uint64_t LinuxHost::now() {
    return std::uint64_t(std::time(nullptr));
}

} // namespace domus::engine
