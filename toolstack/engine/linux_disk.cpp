// Disks in dom0's Linux: block devices, image files on loop devices, who uses them. No lock.
#include "toolstack/engine/descriptor.hpp"
#include "toolstack/engine/linux_host.hpp"
#include "toolstack/model/disk.hpp"

#include <array>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <linux/loop.h>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace domus::engine {

namespace {

class LinuxDisk : public OpenDisk {
public:
    Descriptor held;
};

/// Where a device (major:minor) or one of its partitions is mounted in dom0; empty: nowhere.
std::string mount_point(unsigned device_major, unsigned device_minor) {
    const std::string whole = fmt::format("{}:{}", device_major, device_minor);
    const std::string sys = fmt::format("/sys/dev/block/{}", whole);
    std::ifstream mounts("/proc/self/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
        std::istringstream fields(line);
        std::string id, parent, device, root, where;
        if (!(fields >> id >> parent >> device >> root >> where))
            continue;
        std::error_code none;
        const auto real = std::filesystem::canonical("/sys/dev/block/" + device, none);
        if (device == whole || (!none && real.parent_path() == std::filesystem::canonical(sys, none) && !none))
            return where;
    }
    return {};
}

/// Another loop device over the same file that could see or make writes behind the guest's back.
void refuse_other_loops(const std::string& path, const struct stat& file, bool read_only) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/block", none)) {
        const std::string name = entry.path().filename();
        if (!name.starts_with("loop"))
            continue;
        std::ifstream in(entry.path() / "loop/backing_file");
        std::string backing;
        struct stat other;
        if (!std::getline(in, backing) || ::stat(backing.c_str(), &other) != 0 || other.st_dev != file.st_dev ||
            other.st_ino != file.st_ino)
            continue;
        std::ifstream ro(entry.path() / "ro");
        int other_read_only = 0;
        ro >> other_read_only;
        if (read_only && other_read_only)
            continue;
        throw std::runtime_error(
            fmt::format("{} is in use in dom0 as /dev/{}; give it free (umount it, losetup -d /dev/{}) "
                        "or use it read-only on both sides",
                        path, name, name));
    }
}

/// Puts the file on a free loop device that goes by itself with its last user.
Descriptor attach_loop(const Descriptor& file, const model::Disk& disk, std::string& node) {
    const Descriptor control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (!control)
        throw std::runtime_error(
            fmt::format("cannot use loop devices: /dev/loop-control: {}; run: modprobe loop", errno_text()));
    for (int attempt = 0; attempt < 64; ++attempt) { // others may take the free one first
        const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
        if (number < 0)
            break;
        node = fmt::format("/dev/loop{}", number);
        Descriptor loop(::open(node.c_str(), (disk.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
        if (!loop)
            break;
        struct loop_config config = {};
        config.fd = std::uint32_t(file.get());
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (disk.read_only ? LO_FLAGS_READ_ONLY : 0);
        disk.target.copy(reinterpret_cast<char*>(config.info.lo_file_name), LO_NAME_SIZE - 1);
        if (::ioctl(loop.get(), LOOP_CONFIGURE, &config) == 0)
            return loop;
        if (errno != EBUSY)
            break;
    }
    throw std::runtime_error(fmt::format("cannot put {} on a loop device: {}", disk.target, errno_text()));
}

std::unique_ptr<OpenDisk> open_image(const model::Disk& disk, const struct stat& info) {
    if (info.st_size < 512)
        throw std::runtime_error(
            fmt::format("disk image {} has {} bytes, less than a sector; make it larger: truncate -s 1G {}",
                        disk.target, info.st_size, disk.target));
    refuse_other_loops(disk.target, info, disk.read_only);
    const Descriptor file(::open(disk.target.c_str(), (disk.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
    if (!file)
        throw std::runtime_error(fmt::format("disk image {}: {}{}", disk.target, errno_text(),
                                             disk.read_only ? "" : "; if it may only be read, use access=ro"));
    auto out = std::make_unique<LinuxDisk>();
    if (disk.backend == model::Backend::User) { // domus-blockd takes files as they are
        out->node = disk.target;
        return out;
    }
    out->held = attach_loop(file, disk, out->node);
    struct stat loop = {};
    ::fstat(out->held.get(), &loop);
    out->device_major = major(loop.st_rdev);
    out->device_minor = minor(loop.st_rdev);
    return out;
}

std::unique_ptr<OpenDisk> open_device(const model::Disk& disk, const struct stat& info) {
    const std::string where = mount_point(major(info.st_rdev), minor(info.st_rdev));
    if (!where.empty())
        throw std::runtime_error(
            fmt::format("disk {} is mounted in dom0 at {}; unmount it first: umount {}", disk.target, where, where));
    // O_EXCL asks the kernel whether a file system, RAID or device mapper holds it.
    const int mode = disk.read_only ? O_RDONLY : O_RDWR | O_EXCL;
    auto out = std::make_unique<LinuxDisk>();
    out->held = Descriptor(::open(disk.target.c_str(), mode | O_CLOEXEC | O_NONBLOCK));
    if (!out->held)
        throw std::runtime_error(fmt::format("disk {}: {}{}", disk.target, errno_text(),
                                             errno == EBUSY ? "; dom0 has it in use (RAID, LVM or swap?)"
                                             : errno == EROFS || errno == EACCES
                                                 ? "; it may only be read: use access=ro"
                                                 : ""));
    out->node = disk.target;
    out->device_major = major(info.st_rdev);
    out->device_minor = minor(info.st_rdev);
    return out;
}

} // namespace

std::string LinuxHost::disk_identity(const std::string& path) {
    if (model::is_remote(path))
        return path;
    struct stat info;
    if (path.empty() || ::stat(path.c_str(), &info) != 0)
        return {};
    if (S_ISBLK(info.st_mode))
        return fmt::format("block {}:{}", major(info.st_rdev), minor(info.st_rdev));
    return fmt::format("file {}:{}:{}", major(info.st_dev), minor(info.st_dev), info.st_ino);
}

bool LinuxHost::disk_released(const std::string& node) {
    constexpr std::string_view prefix = "/dev/";
    if (!node.starts_with(prefix))
        return true;
    return ::access(fmt::format("/sys/block/{}/loop/backing_file", node.substr(prefix.size())).c_str(), F_OK) != 0;
}

std::unique_ptr<OpenDisk> LinuxHost::open_disk(const model::Disk& disk) {
    if (model::is_remote(disk.target)) { // domus-blockd connects to it, and says what is wrong with it
        auto out = std::make_unique<OpenDisk>();
        out->node = disk.target;
        return out;
    }
    struct stat info;
    if (::stat(disk.target.c_str(), &info) != 0)
        throw std::runtime_error(fmt::format("disk {}: {}; check the path", disk.target, errno_text()));
    if (S_ISBLK(info.st_mode))
        return open_device(disk, info);
    if (S_ISREG(info.st_mode))
        return open_image(disk, info);
    throw std::runtime_error(
        fmt::format("disk {} is neither a block device nor an image file; check the path", disk.target));
}

} // namespace domus::engine
