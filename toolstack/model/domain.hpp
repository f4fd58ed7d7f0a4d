// A guest as plain data: what the configuration file says, in the units the hypervisor uses.
// Owner: whoever holds it; no lock, no behaviour. Used by every part of the toolstack.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace domus::model {

using Mac = std::array<std::uint8_t, 6>;
using Uuid = std::array<std::uint8_t, 16>; // in the order it is printed, as xen_domain_handle_t

/// What to do when a guest has stopped (xl.cfg(5), "Event Actions").
enum class Action { Destroy, Restart, RenameRestart, Preserve, CoredumpDestroy, CoredumpRestart };

/// XEN_DOMCTL_settscinfo's modes, by their numbers.
enum class TscMode : std::uint32_t { Default = 0, AlwaysEmulate = 1, Native = 2, NativeParavirt = 3 };

/// Which driver serves a device.
enum class Backend { Kernel, User };

struct Disk {
    std::string target; // absolute path of a block device or an image file, or the URI of an NBD server
    std::string vdev;   // name in the guest: xvda, sdb1, hdc, d0p1
    std::string format = "raw";
    bool read_only = false;
    bool cdrom = false;
    bool discard = true;
    std::optional<bool> persistent; // grants that stay mapped: offered or not; absent: as the backend does by itself
    Backend backend = Backend::User;
    std::string backend_type;   // as written: phy, qdisk, tap, standalone; empty: choose
    std::string backend_domain; // empty: dom0

    bool operator==(const Disk&) const = default;
};

/// Credit-based limit of a network card's sending, as netback's `rate` node has it.
struct Rate {
    std::uint64_t bytes = 0; // per interval
    std::uint32_t interval_us = 50'000;

    bool operator==(const Rate&) const = default;
};

struct Vif {
    std::optional<Mac> mac;        // absent: one is made up when the guest is created
    std::string bridge = "xenbr0"; // with Open vSwitch BRIDGE[.VLAN][:TRUNK...] (switch_port.hpp)
    bool open_vswitch = false;     // its bridge is Open vSwitch's for certain (script=vif-openvswitch)
    std::string vifname;           // empty: vifDOMID.DEVID
    std::optional<std::uint32_t> devid;
    std::optional<Rate> rate;
    std::optional<std::uint32_t> mtu;
    std::string ip;
    Backend backend = Backend::User;
    std::string backend_type;
    std::string backend_domain;

    bool operator==(const Vif&) const = default;
};

struct Domain {
    std::string name;
    std::optional<Uuid> uuid; // absent: one is made up when the guest is created
    std::string kernel;
    std::string ramdisk; // empty: none
    std::string cmdline;
    std::uint64_t memory_kib = 128 * 1024;
    std::uint64_t max_memory_kib = 128 * 1024;
    std::uint32_t vcpus = 1;
    std::uint32_t max_vcpus = 1;
    std::uint32_t cpu_weight = 0; // 0: the scheduler's default
    std::uint32_t cap = 0;        // percent of one CPU; 0: none
    TscMode tsc_mode = TscMode::Default;
    Action on_poweroff = Action::Destroy;
    Action on_reboot = Action::Restart;
    Action on_crash = Action::Destroy;
    Action on_watchdog = Action::Destroy;
    std::vector<Disk> disks;
    std::vector<Vif> vifs;

    bool operator==(const Domain&) const = default;
};

} // namespace domus::model
