// Between the model's plain structs and protobuf messages. No lock. Pure.
#include "toolstack/proto/convert.hpp"

#include "toolstack/model/config.hpp"
#include "toolstack/model/disk.hpp"
#include "toolstack/model/mac.hpp"
#include "toolstack/model/uuid.hpp"
#include "toolstack/model/vif.hpp"

#include <fmt/format.h>
#include <limits>

namespace domus::proto {

Disk to_proto(const model::Disk& disk) {
    Disk out;
    out.set_target(disk.target);
    out.set_vdev(disk.vdev);
    out.set_format(disk.format);
    out.set_read_only(disk.read_only);
    out.set_cdrom(disk.cdrom);
    out.set_discard(disk.discard);
    if (disk.persistent)
        out.set_persistent(*disk.persistent);
    out.set_backendtype(disk.backend_type);
    out.set_backend(disk.backend_domain);
    return out;
}

Vif to_proto(const model::Vif& vif) {
    Vif out;
    if (vif.mac)
        out.set_mac(model::to_string(*vif.mac));
    out.set_bridge(vif.bridge);
    out.set_vifname(vif.vifname);
    if (vif.devid)
        out.set_devid(*vif.devid);
    if (vif.rate) {
        out.mutable_rate()->set_bytes(vif.rate->bytes);
        out.mutable_rate()->set_interval_us(vif.rate->interval_us);
    }
    if (vif.mtu)
        out.set_mtu(*vif.mtu);
    out.set_ip(vif.ip);
    out.set_open_vswitch(vif.open_vswitch);
    out.set_backendtype(vif.backend_type);
    out.set_backend(vif.backend_domain);
    return out;
}

DomainConfig to_proto(const model::Domain& domain) {
    DomainConfig out;
    out.set_name(domain.name);
    if (domain.uuid)
        out.set_uuid(model::to_string(*domain.uuid));
    out.set_kernel(domain.kernel);
    out.set_ramdisk(domain.ramdisk);
    out.set_cmdline(domain.cmdline);
    out.set_memory_kib(domain.memory_kib);
    out.set_max_memory_kib(domain.max_memory_kib);
    out.set_vcpus(domain.vcpus);
    out.set_max_vcpus(domain.max_vcpus);
    out.set_cpu_weight(domain.cpu_weight);
    out.set_cap(domain.cap);
    out.set_tsc_mode(std::string(to_string(domain.tsc_mode)));
    out.set_on_poweroff(std::string(to_string(domain.on_poweroff)));
    out.set_on_reboot(std::string(to_string(domain.on_reboot)));
    out.set_on_crash(std::string(to_string(domain.on_crash)));
    out.set_on_watchdog(std::string(to_string(domain.on_watchdog)));
    for (const auto& disk : domain.disks)
        *out.add_disks() = to_proto(disk);
    for (const auto& vif : domain.vifs)
        *out.add_vifs() = to_proto(vif);
    return out;
}

// The strings' own parsers are the one place that knows what a disk or a card may be, so what came over the wire
// goes through them too.
model::Disk to_model(const Disk& disk) {
    model::Disk plain;
    plain.target = disk.target();
    plain.vdev = disk.vdev();
    plain.format = disk.format().empty() ? "raw" : disk.format();
    plain.read_only = disk.read_only();
    plain.cdrom = disk.cdrom();
    plain.discard = disk.discard();
    if (disk.has_persistent())
        plain.persistent = disk.persistent();
    plain.backend_type = disk.backendtype();
    plain.backend_domain = disk.backend();
    for (const auto& field : {plain.vdev, plain.format, plain.backend_type, plain.backend_domain})
        if (field.find_first_of(",= \t") != std::string::npos)
            throw model::ValueError(0, fmt::format("{} cannot be part of a disk", model::in_quotes(field)));
    std::vector<std::string> warnings;
    return model::parse_disk(model::to_string(plain), warnings);
}

model::Vif to_model(const Vif& vif) {
    model::Vif plain;
    if (!vif.mac().empty())
        plain.mac = model::parse_mac(vif.mac());
    if (!vif.bridge().empty())
        plain.bridge = vif.bridge();
    plain.vifname = vif.vifname();
    if (vif.has_devid())
        plain.devid = vif.devid();
    if (vif.has_mtu())
        plain.mtu = vif.mtu();
    plain.ip = vif.ip();
    plain.open_vswitch = vif.open_vswitch();
    plain.backend_type = vif.backendtype();
    plain.backend_domain = vif.backend();
    for (const auto& field : {plain.bridge, plain.vifname, plain.ip, plain.backend_type, plain.backend_domain})
        if (field.find_first_of(",=\t") != std::string::npos)
            throw model::ValueError(0, fmt::format("{} cannot be part of a vif", model::in_quotes(field)));
    std::vector<std::string> warnings;
    model::Vif out = model::parse_vif(model::to_string(plain), warnings);
    if (vif.has_rate()) {
        if (vif.rate().bytes() == 0 || vif.rate().interval_us() == 0)
            throw model::ValueError(0, "a vif's rate lets nothing through", "leave it out for no limit");
        if (vif.rate().bytes() > std::numeric_limits<std::uint32_t>::max())
            throw model::ValueError(0, "a vif's rate is too high to be a limit", "leave it out for no limit");
        out.rate = model::Rate{vif.rate().bytes(), vif.rate().interval_us()};
    }
    return out;
}

model::Domain to_model(const DomainConfig& config) {
    model::Domain out;
    out.name = config.name();
    if (!config.uuid().empty())
        out.uuid = model::parse_uuid(config.uuid());
    out.kernel = config.kernel();
    out.ramdisk = config.ramdisk();
    out.cmdline = config.cmdline();
    out.memory_kib = config.memory_kib();
    out.max_memory_kib = config.max_memory_kib();
    out.vcpus = config.vcpus();
    out.max_vcpus = config.max_vcpus();
    out.cpu_weight = config.cpu_weight();
    out.cap = config.cap();
    if (!config.tsc_mode().empty())
        out.tsc_mode = model::parse_tsc_mode(config.tsc_mode());
    const auto action = [](const std::string& word, model::Action& into) {
        if (!word.empty())
            into = model::parse_action(word);
    };
    action(config.on_poweroff(), out.on_poweroff);
    action(config.on_reboot(), out.on_reboot);
    action(config.on_crash(), out.on_crash);
    action(config.on_watchdog(), out.on_watchdog);
    for (const auto& disk : config.disks())
        out.disks.push_back(to_model(disk));
    for (const auto& vif : config.vifs())
        out.vifs.push_back(to_model(vif));
    return out;
}

} // namespace domus::proto
