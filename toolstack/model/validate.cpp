// What must hold of a guest as a whole. Owner: model/. No lock. Pure: does not look at files or other guests.
#include "toolstack/model/config.hpp"
#include "toolstack/model/mac.hpp"
#include "toolstack/model/vdev.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace domus::model {

namespace {

[[noreturn]] void refuse(const std::string& text) {
    throw std::runtime_error(text);
}

void validate_devices(const Domain& domain) {
    std::set<std::uint32_t> disks, cards;
    std::set<Mac> macs;
    for (const auto& disk : domain.disks)
        if (!disks.insert(vdev_number(disk.vdev)).second)
            refuse(fmt::format("two disks are called {}; give each its own name (third in the string)", disk.vdev));
    for (const auto& vif : domain.vifs) {
        if (vif.mac && !macs.insert(*vif.mac).second)
            refuse(fmt::format("two network cards have the MAC address {}; give each its own", to_string(*vif.mac)));
        if (vif.devid && !cards.insert(*vif.devid).second)
            refuse(fmt::format("two network cards have devid {}; give each its own, or leave devid= out", *vif.devid));
    }
    if (domain.vifs.size() > 256 || domain.disks.size() > 256)
        refuse("more than 256 disks or network cards; take some out");
}

void validate_limits(const Domain& domain) {
    if (std::max(domain.memory_kib, domain.max_memory_kib) / 1024 > most_memory_mib)
        refuse(fmt::format("memory and maxmem can be at most {} MiB; lower them", most_memory_mib));
    if (domain.max_vcpus > most_vcpus)
        refuse(fmt::format("maxvcpus is {}, at most {} are possible; lower it", domain.max_vcpus, most_vcpus));
    if (domain.cpu_weight > most_weight || domain.cap > most_cap)
        refuse(fmt::format("cpu_weight can be at most {} and cap {}; lower them", most_weight, most_cap));
    if (domain.cmdline.size() > 1023) // MAX_GUEST_CMDLINE of xen.h, with its zero byte
        refuse(
            fmt::format("the kernel's command line has {} bytes, at most 1023 fit; shorten it", domain.cmdline.size()));
    for (const auto* text : {&domain.kernel, &domain.ramdisk, &domain.cmdline})
        if (text->find('\0') != std::string::npos)
            refuse("kernel, ramdisk or the kernel's command line has a zero byte; take it out");
}

} // namespace

void validate_name(const std::string& name) {
    if (name.empty())
        refuse("name is missing; add name = \"...\"");
    if (name.size() > 255)
        refuse("name is longer than 255 bytes; use a shorter one");
    for (unsigned char c : name)
        if (c <= 0x20 || c == 0x7f || c == '/')
            refuse(fmt::format("name {} has a blank, a slash or a control byte; use letters, digits, '-', '_' and '.'",
                               in_quotes(name)));
    if (name.find_first_not_of("0123456789") == std::string::npos)
        refuse(fmt::format("name {} is a number and would be taken for a domain id; add a letter", in_quotes(name)));
    if (name == "Domain-0" || name == "(null)" || name == "." || name == "..")
        refuse(fmt::format("name {} is reserved; use another", in_quotes(name)));
}

void validate(const Domain& domain) {
    validate_name(domain.name);
    if (domain.kernel.empty())
        refuse("kernel is missing; add kernel = \"/path/of/vmlinuz\"");
    if (domain.memory_kib == 0)
        refuse("memory is 0; give the guest some, in MiB");
    if (domain.memory_kib > domain.max_memory_kib)
        refuse(fmt::format("memory ({} MiB) is more than maxmem ({} MiB); raise maxmem or leave it out",
                           domain.memory_kib / 1024, domain.max_memory_kib / 1024));
    if (domain.vcpus == 0 || domain.vcpus > domain.max_vcpus)
        refuse(fmt::format("vcpus ({}) must be 1 to maxvcpus ({}); raise maxvcpus or leave it out", domain.vcpus,
                           domain.max_vcpus));
    validate_limits(domain);
    validate_devices(domain);
}

} // namespace domus::model
