// dom0's Linux: loop devices by ioctl, interfaces and bridges by ioctl and /sys. Owner: domusd's main. No lock.
#pragma once

#include "toolstack/engine/host.hpp"

#include <map>
#include <sys/types.h>

namespace domus::engine {

class LinuxHost : public Host {
public:
    /// `root`: where /run and /sys are looked for (tests have their own).
    explicit LinuxHost(std::string root = {}) : root_(std::move(root)) {}

    void require_file(const std::string& path, const std::string& what) override;
    std::string disk_identity(const std::string& path) override;
    std::unique_ptr<OpenDisk> open_disk(const model::Disk& disk) override;
    bool block_backend_open(std::uint16_t domid, std::uint32_t devid) override;
    bool disk_released(const std::string& node) override;
    std::string image_server(const std::string& name) override;
    void start_image_server(const std::string& name, const model::Disk& disk) override;
    bool image_server_ready(const std::string& name) override;
    void end_image_server(const std::string& name) override;
    bool image_server_gone(const std::string& name) override;
    bool has_backend_driver(const std::string& kind) override;
    bool is_bridge(const std::string& name) override;
    bool has_interface(const std::string& name) override;
    std::uint32_t interface_mtu(const std::string& name) override;
    std::string connect_interface(const std::string& name, const model::Vif& vif) override;
    std::unique_ptr<Command> start_command(const std::vector<std::string>& words) override;
    Figures device_figures(const std::string& kind, std::uint16_t domid, std::uint32_t devid) override;
    Uname uname() override;
    std::uint64_t now() override;

private:
    std::string base_of(const std::string& name) const;

    std::string root_;
    std::map<std::string, pid_t> starting_; ///< image servers that do not answer yet
};

} // namespace domus::engine
