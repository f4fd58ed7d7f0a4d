// Figures of devices in dom0's Linux: our backends' files in /run/domus/stats, Linux's backends' in /sys. No lock.
#include "backend-drivers/common/stats.hpp"
#include "toolstack/engine/linux_host.hpp"

#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <unistd.h>

namespace domus::engine {

namespace {

std::optional<std::uint64_t> number_in(const std::string& path) {
    std::ifstream in(path);
    std::uint64_t value = 0;
    if (in >> value)
        return value;
    return std::nullopt;
}

/// Adds the figure `name`, `scale` times what the file holds; nothing when it is not there.
bool add(Figures& figures, const char* name, const std::string& path, std::uint64_t scale = 1) {
    const auto value = number_in(path);
    if (value)
        figures.list.push_back({name, *value * scale, true});
    return value.has_value();
}

Figures of_blkback(const std::string& device) {
    Figures out;
    const std::string statistics = device + "/statistics/";
    if (!add(out, "reads", statistics + "rd_req")) {
        out.missing =
            fmt::format("dom0's kernel has no {} (xen-blkback is not loaded, or has not taken the disk)", statistics);
        return out;
    }
    add(out, "writes", statistics + "wr_req");
    add(out, "flushes", statistics + "f_req");
    add(out, "discards", statistics + "ds_req");
    add(out, "read_bytes", statistics + "rd_sect", 512);
    add(out, "written_bytes", statistics + "wr_sect", 512);
    add(out, "refused_busy", statistics + "oo_req");
    out.missing = "served by dom0's kernel (xen-blkback), which does not say its ring's indices, requests in flight, "
                  "grants held, events, or errors; backendtype=domus has them";
    return out;
}

/// What the interface receives the guest has sent: names are the guest's point of view.
Figures of_netback(const std::string& interface) {
    Figures out;
    const std::string statistics = interface + "/statistics/";
    if (!add(out, "tx_packets", statistics + "rx_packets")) {
        out.missing =
            fmt::format("dom0 has no interface {} (xen-netback is not loaded, or has not taken the card)", interface);
        return out;
    }
    add(out, "tx_bytes", statistics + "rx_bytes");
    add(out, "tx_dropped", statistics + "rx_dropped");
    add(out, "tx_errors", statistics + "rx_errors");
    add(out, "rx_packets", statistics + "tx_packets");
    add(out, "rx_bytes", statistics + "tx_bytes");
    add(out, "rx_dropped", statistics + "tx_dropped");
    add(out, "rx_errors", statistics + "tx_errors");
    out.missing =
        "served by dom0's kernel (xen-netback), which does not say its rings' indices, requests in flight, "
        "grants held or events here (as far as it does: /sys/kernel/debug/xen-netback); backendtype=domus has "
        "them";
    return out;
}

/// A process of that number may be another one by now: then the figures only stand still.
bool has_ended(std::uint32_t pid) {
    const auto number = static_cast<pid_t>(pid);
    return number <= 0 || (::kill(number, 0) != 0 && errno == ESRCH);
}

Figures of_process(const std::string& path, const std::string& program) {
    Figures out;
    if (::access(path.c_str(), F_OK) != 0) {
        out.missing = fmt::format("{} has no figures of this device; does it run?", program);
        return out;
    }
    out.pid = backend::stats::writer(path);
    out.gone = has_ended(out.pid);
    if (out.gone)
        out.missing = fmt::format("{} (process {}) has ended and these are its last figures; start it again, and it "
                                  "serves on",
                                  program, out.pid);
    for (const auto& figure : backend::stats::read(path))
        out.list.push_back({figure.name, figure.value, figure.kind == backend::stats::Kind::Count});
    return out;
}

} // namespace

Figures LinuxHost::device_figures(const std::string& kind, std::uint16_t domid, std::uint32_t devid) {
    if (kind == "vbd")
        return of_blkback(fmt::format("{}/sys/bus/xen-backend/devices/vbd-{}-{}", root_, domid, devid));
    if (kind == "vif")
        return of_netback(fmt::format("{}/sys/class/net/vif{}.{}", root_, domid, devid));
    try {
        return of_process(fmt::format("{}{}/{}/{}-{}", root_, backend::stats_folder, kind, domid, devid),
                          kind == "domus-vbd" ? "domus-blockd" : "domus-netd");
    } catch (const std::runtime_error& e) { // it went away while it was read
        Figures none;
        none.missing = e.what();
        return none;
    }
}

} // namespace domus::engine
