// What the engine asks of dom0's Linux: files, loop devices, network interfaces, programs. Tests put a fake in its
// place. Owner: domusd's main. No lock, one thread. LinuxHost (linux_host.hpp) is the real one. Must not touch
// xenstore.
#pragma once

#include "toolstack/model/domain.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace domus::engine {

/// A disk held open for a guest. While this object lives its device does; afterwards a loop device lives on only as
/// long as the block backend holds it (the kernel's autoclear), so nothing is left behind, not even by a kill -9.
class OpenDisk {
public:
    virtual ~OpenDisk() = default;
    std::string node; // /dev/loop3, or the block device itself
    unsigned device_major = 0, device_minor = 0;
};

/// One figure of a device: "q0.reads". `counts`: it goes up only, so that a rate can be made of it.
struct Figure {
    std::string name;
    std::uint64_t value = 0;
    bool counts = true;
};

/// What the one who serves a device says of it. A process' figures are by queue (backend-drivers/common/stats.hpp);
/// those of Linux's backends get the same names without a queue.
struct Figures {
    std::vector<Figure> list;
    std::uint32_t pid = 0; ///< of the process; 0: dom0's kernel, or nobody
    bool gone = false;     ///< the process has ended without a word (killed): the list is what it said last
    std::string missing;   ///< what cannot be known, and why; empty: nothing
};

/// How a program ended, as a shell says it (128 and the signal's number), and what it said on both its outputs.
struct Ended {
    int status = 0;
    std::string said;
};

/// A program under way. Destroyed before its end, it is killed.
class Command {
public:
    virtual ~Command() = default;
    /// Nothing yet, until it has ended; then once.
    virtual std::optional<Ended> ended() = 0;
};

struct Uname {
    std::string host, release, version, machine;
};

/// Members throw std::runtime_error with a message that says what to do.
class Host {
public:
    virtual ~Host() = default;

    /// Refuses what is not a readable regular file. `what` names it in the message ("kernel").
    virtual void require_file(const std::string& path, const std::string& what) = 0;

    /// What tells two paths of one disk apart from two disks: device number, or file system and inode. Empty: absent.
    virtual std::string disk_identity(const std::string& path) = 0;
    /// Opens a block device, or an image file through a loop device. Refuses a disk that dom0 has in use.
    virtual std::unique_ptr<OpenDisk> open_disk(const model::Disk& disk) = 0;
    /// True once the kernel's block backend has opened the disk of this guest.
    virtual bool block_backend_open(std::uint16_t domid, std::uint32_t devid) = 0;
    /// True once nobody has the device open that open_disk() made at `node` (always, when it made none).
    virtual bool disk_released(const std::string& node) = 0;

    // A disk image of another format than raw is read by a program of its own, whose client domus-blockd is. `name`
    // tells the disks apart. It outlives this process.
    /// The NBD URI at which the one of that name answers.
    virtual std::string image_server(const std::string& name) = 0;
    virtual void start_image_server(const std::string& name, const model::Disk& disk) = 0;
    /// True once it answers. Throws what it says is wrong with the image.
    virtual bool image_server_ready(const std::string& name) = 0;
    /// Asks it to end; no matter if there is none.
    virtual void end_image_server(const std::string& name) = 0;
    virtual bool image_server_gone(const std::string& name) = 0;

    /// Whether dom0's kernel has the backend driver for "vbd" or "vif".
    virtual bool has_backend_driver(const std::string& kind) = 0;

    virtual bool is_bridge(const std::string& name) = 0;
    virtual bool has_interface(const std::string& name) = 0;
    /// 0: there is no such interface.
    virtual std::uint32_t interface_mtu(const std::string& name) = 0;
    /// Renames the interface when `vif.vifname` says so, sets its MTU, puts it on the bridge (none if that is empty)
    /// and up. Returns its name.
    virtual std::string connect_interface(const std::string& name, const model::Vif& vif) = 0;

    /// Starts the program of that name, words.front(). Nothing if it is not installed.
    virtual std::unique_ptr<Command> start_command(const std::vector<std::string>& words) = 0;

    /// The figures of a device of `kind` ("domus-vbd", "vif", ...).
    virtual Figures device_figures(const std::string& kind, std::uint16_t domid, std::uint32_t devid) = 0;

    virtual Uname uname() = 0;
    /// Seconds since the epoch.
    virtual std::uint64_t now() = 0;
};

} // namespace domus::engine
