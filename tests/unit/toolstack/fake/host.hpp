// dom0's Linux that remembers what was made and not taken away again. Owner: the World. No lock.
#pragma once

#include "tests/unit/toolstack/fake/faults.hpp"
#include "toolstack/engine/host.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace domus::engine::test {

class FakeHost : public Host {
public:
    explicit FakeHost(Faults& faults) : faults_(faults) {}

    void require_file(const std::string& path, const std::string& what) override {
        faults_.step("require_file");
        if (!files.contains(path))
            throw std::runtime_error(fmt::format("{} {} cannot be read", what, path));
    }
    std::string disk_identity(const std::string& path) override {
        const auto found = disks.find(path);
        return found == disks.end() ? "" : found->second;
    }
    std::unique_ptr<OpenDisk> open_disk(const model::Disk& disk) override {
        faults_.step("open_disk");
        auto out = std::make_unique<Held>(*this);
        const bool as_it_is = disk.target.starts_with("/dev/") || disk.backend == model::Backend::User;
        out->node = as_it_is ? disk.target : fmt::format("/dev/loop{}", ++last_loop_);
        out->device_major = 7;
        out->device_minor = last_loop_;
        held.insert(out->node);
        return out;
    }
    bool block_backend_open(std::uint16_t domid, std::uint32_t devid) override {
        faults_.step("block_backend_open");
        return opened.contains({domid, devid});
    }
    bool disk_released(const std::string& node) override {
        waited_for_itself += held.contains(node);
        return !in_use(node);
    }
    std::string image_server(const std::string& name) override { return "nbd+unix:///?socket=/" + name; }
    void start_image_server(const std::string& name, const model::Disk&) override {
        faults_.step("start_image_server");
        servers.insert(name);
    }
    bool image_server_ready(const std::string&) override {
        if (!image_error.empty())
            throw std::runtime_error(image_error);
        return true;
    }
    void end_image_server(const std::string& name) override { servers.erase(name); }
    bool image_server_gone(const std::string& name) override { return !servers.contains(name); }
    bool has_backend_driver(const std::string& kind) override { return drivers.contains(kind); }
    bool is_bridge(const std::string& name) override { return bridges.contains(name); }
    bool has_interface(const std::string& name) override { return interfaces.contains(name); }
    std::string connect_interface(const std::string& name, const model::Vif& vif) override {
        faults_.step("connect_interface");
        const std::string final_name = vif.vifname.empty() ? name : vif.vifname;
        if (final_name != name && interfaces.contains(final_name))
            throw std::runtime_error(fmt::format("renaming {} to {}: it is taken", name, final_name));
        interfaces.erase(name);
        interfaces.insert(final_name);
        names[name] = final_name;
        return final_name;
    }
    std::uint32_t interface_mtu(const std::string& name) override {
        const auto found = mtus.find(name);
        return found == mtus.end() ? 1500 : found->second;
    }
    std::unique_ptr<Command> start_command(const std::vector<std::string>& words) override {
        faults_.step("start_command");
        commands.push_back(fmt::format("{}", fmt::join(words, " ")));
        if (!has_vswitch)
            return nullptr;
        return std::make_unique<Done>(vswitch(words));
    }
    Figures device_figures(const std::string& kind, std::uint16_t domid, std::uint32_t devid) override {
        const auto found = figures.find(fmt::format("{}-{}-{}", kind, domid, devid));
        return found == figures.end() ? Figures{{}, 0, false, "nobody serves it"} : found->second;
    }
    Uname uname() override { return {"dom0", "6.1", "#1 SMP", "x86_64"}; }
    std::uint64_t now() override { return clock; }

    /// Whether a disk is open anywhere: in domusd, or in a backend.
    bool in_use(const std::string& node) const {
        if (held.contains(node))
            return true;
        for (const auto& [device, their_node] : opened)
            if (their_node == node)
                return true;
        return false;
    }

    std::set<std::string> files{"/boot/vmlinuz", "/boot/initrd"}, bridges{"xenbr0", "xenbr1"}, drivers{"vbd", "vif"};
    std::map<std::string, std::string> disks{
        {"/srv/a.img", "a"}, {"/srv/link-to-a.img", "a"}, {"/srv/b.img", "b"}, {"/dev/vg/c", "c"}};
    std::set<std::string> servers; // of images
    std::string image_error;
    bool has_vswitch = true;                  // ovs-vsctl is installed
    std::optional<Ended> vswitch_says;        // to whatever it is asked
    bool vswitch_takes_on = true;             // ovs-vswitchd runs
    std::set<std::string> switches{"ovs0"};   // Open vSwitch's bridges
    std::map<std::string, std::string> ports; // theirs: what add-port said behind the interface's name
    std::vector<std::string> commands;        // all that were started
    std::map<std::string, std::uint32_t> mtus;
    std::set<std::string> interfaces;
    std::map<std::string, std::string> names; // what interfaces were called at first, to what they are called now
    std::set<std::string> held;               // nodes of OpenDisks that live
    std::map<std::pair<std::uint16_t, std::uint32_t>, std::string> opened; // by the block backend
    std::map<std::string, Figures> figures;                                // by KIND-DOMID-DEVID
    unsigned waited_for_itself = 0; // times that domusd asked whether a disk is free that it held open itself
    std::uint64_t clock = 1'700'000'000;

private:
    struct Held : OpenDisk {
        explicit Held(FakeHost& host) : host(host) {}
        ~Held() override { host.held.erase(node); }
        FakeHost& host;
    };

    struct Done : Command {
        explicit Done(Ended how) : how_(std::move(how)) {}
        std::optional<Ended> ended() override { return how_; }
        Ended how_;
    };
    /// What ovs-vsctl would do, as far as the engine uses it.
    Ended vswitch(const std::vector<std::string>& words) {
        if (vswitch_says)
            return *vswitch_says;
        const auto at = [&](std::string_view word) { return std::find(words.begin(), words.end(), word); };
        const auto none = words.end();
        if (const auto word = at("br-exists"); word != none)
            return {switches.contains(word[1]) ? 0 : 2, ""};
        if (at("wait-until") != none)
            return {vswitch_takes_on && ports.contains(*(at("Interface") + 1)) ? 0 : 128 + 14, "terminating"};
        if (at("get") != none)
            return {0, "\"could not open network device\"\n"};
        if (const auto word = at("add-port"); word != none) {
            const auto end = std::find(word, none, "--");
            ports[word[2]] = fmt::format("{} {}", word[1], fmt::join(word + 3, end, " "));
            return {};
        }
        if (const auto word = at("del-port"); word != none && ports.contains(word[2]))
            ports.erase(word[2]);
        return {};
    }

    Faults& faults_;
    unsigned last_loop_ = 0;
};

} // namespace domus::engine::test
