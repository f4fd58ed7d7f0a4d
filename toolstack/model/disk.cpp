// xl's disk strings, after xl-disk-configuration(5). Owner: model/. No lock. Pure.
#include "toolstack/model/disk.hpp"

#include "toolstack/model/text.hpp"
#include "toolstack/model/vdev.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <optional>

namespace domus::model {

namespace {

constexpr std::array<std::string_view, 4> positions = {"target", "format", "vdev", "access"};

constexpr std::array<std::string_view, 4> nbd_schemes = {"nbd://", "nbds://", "nbd+unix://", "nbds+unix://"};

bool is_vdev(std::string_view word) {
    try {
        return vdev_number(word) != 0;
    } catch (const ValueError&) {
        return false;
    }
}

/// Collects the parameters of one string; each may be given once.
class DiskParser {
public:
    DiskParser(std::string_view spec, std::vector<std::string>& warnings) : spec_(spec), warnings_(warnings) {}

    Disk parse() {
        strip_old_prefix();
        while (at_ <= spec_.size() && !rest_taken_)
            parameter();
        finish();
        return disk_;
    }

private:
    [[noreturn]] void fail(std::size_t at, const std::string& wrong, const std::string& advice = {}) {
        throw ValueError(at, fmt::format("disk: {}", wrong), advice);
    }

    void strip_old_prefix() {
        while (at_ < spec_.size() && (spec_[at_] == ' ' || spec_[at_] == '\t'))
            ++at_;
        for (bool again = true; again;) {
            again = false;
            for (std::string_view prefix :
                 {"phy:", "file:", "tap:", "tap2:", "aio:", "raw:", "qcow2:", "qcow:", "vhd:"}) {
                if (!spec_.substr(at_).starts_with(prefix))
                    continue;
                at_ += prefix.size();
                old_style_ = again = true;
                if (prefix == "qcow2:" || prefix == "qcow:" || prefix == "vhd:")
                    set("format", prefix.substr(0, prefix.size() - 1), at_);
            }
        }
        // The old style has no format: target,vdev,access. `raw:` there names the format already.
        if (old_style_ && !seen_[1])
            set("format", "raw", at_);
    }

    void parameter() {
        const std::size_t comma = spec_.find(',', at_);
        const std::size_t end = comma == std::string_view::npos ? spec_.size() : comma;
        std::string_view word = spec_.substr(at_, end - at_);
        const std::size_t start =
            at_ + (word.find_first_not_of(" \t") == std::string_view::npos ? 0 : word.find_first_not_of(" \t"));
        word = trim(word);
        at_ = end + 1;
        const auto equals = word.find('=');
        if (equals != std::string_view::npos && trim(word.substr(0, equals)) == "target") {
            // target= takes all that is left, commas and blanks too.
            const std::size_t from = std::min(spec_.find_first_not_of(" \t", start + equals + 1), spec_.size());
            rest_taken_ = true;
            return set("target", spec_.substr(from), from);
        }
        if (equals != std::string_view::npos && is_key(word.substr(0, equals)))
            return set(trim(word.substr(0, equals)), trim(word.substr(equals + 1)), start);
        if (flag(word, start))
            return;
        positional(word, start);
    }

    static bool is_key(std::string_view word) {
        if (word.empty() || word[0] < 'a' || word[0] > 'z')
            return false;
        return word.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_ ") == std::string_view::npos;
    }

    void positional(std::string_view word, std::size_t start) {
        while (next_ < positions.size() && seen_[next_])
            ++next_;
        if (next_ == positions.size()) {
            if (word.empty())
                return;
            fail(start, fmt::format("{} is one parameter too many", in_quotes(word)),
                 "the order is TARGET, FORMAT, VDEV, ACCESS; others are written key=value");
        }
        std::string_view value = word;
        if (positions[next_] == "vdev" && value.ends_with(":cdrom")) {
            disk_.cdrom = true;
            value.remove_suffix(6);
        }
        set(positions[next_++], value, start);
    }

    bool flag(std::string_view word, std::size_t start) {
        if (word == "cdrom")
            disk_.cdrom = true;
        else if (word == "discard")
            disk_.discard = true;
        else if (word == "no-discard")
            disk_.discard = false;
        else if (word == "persistent" || word == "no-persistent")
            persistent(word, start);
        else if (word == "direct-io-safe" || word == "trusted" || word == "untrusted")
            warnings_.push_back(fmt::format("disk flag '{}' has no effect", word));
        else if (word == "colo")
            fail(start, "colo is not supported", "remove it");
        else
            return false;
        return true;
    }

    void persistent(std::string_view word, std::size_t start) {
        const bool wanted = word == "persistent";
        if (disk_.persistent == wanted)
            fail(start, fmt::format("'{}' is given twice", word), "give it once");
        if (disk_.persistent)
            fail(start, fmt::format("'{}' comes after '{}'", word, persistent_word()), "give one of them");
        disk_.persistent = wanted;
    }
    const char* persistent_word() const { return *disk_.persistent ? "persistent" : "no-persistent"; }

    void set(std::string_view key, std::string_view value, std::size_t start) {
        for (std::size_t i = 0; i < positions.size(); ++i) {
            if (positions[i] != key)
                continue;
            if (seen_[i] && !(key == "target" && disk_.target.empty()))
                fail(start, fmt::format("'{}' is given twice", key), "give it once");
            seen_[i] = true;
            if (!value.empty())
                position(key, value, start);
            return;
        }
        other(key, value, start);
    }

    void position(std::string_view key, std::string_view value, std::size_t start) {
        if (key == "target") {
            disk_.target = value;
        } else if (key == "vdev") {
            disk_.vdev = value;
            vdev_at_ = start;
        } else if (key == "format") {
            if (value != "raw" && value != "qcow2" && is_vdev(value))
                fail(start, fmt::format("{} stands where the format is expected", in_quotes(value)),
                     fmt::format("write the format before it: raw,{}", value));
            if (value != "raw" && value != "qcow2")
                fail(start, fmt::format("format {} is not served", in_quotes(value)),
                     "use raw or qcow2; convert the image: qemu-img convert -O raw IN OUT; or let qemu-nbd read it and "
                     "name its socket: target=nbd+unix:///?socket=PATH");
            disk_.format = value;
        } else if (value == "r" || value == "ro") {
            disk_.read_only = true;
        } else if (value != "w" && value != "rw") {
            fail(start, fmt::format("access {} is unknown", in_quotes(value)), "use ro (r) or rw (w)");
        } else {
            write_asked_ = true;
        }
    }

    void other(std::string_view key, std::string_view value, std::size_t start) {
        if (key == "devtype") {
            if (value != "cdrom" && value != "disk")
                fail(start, fmt::format("devtype {} is unknown", in_quotes(value)), "the only one is cdrom");
            disk_.cdrom = value == "cdrom";
        } else if (key == "backendtype") {
            backend_type(value, start);
        } else if (key == "backend") {
            try {
                disk_.backend_domain = backend_domain(value);
            } catch (const ValueError& e) {
                fail(start, e.wrong(), e.advice());
            }
        } else if (key == "specification") {
            if (value != "xen")
                fail(start, fmt::format("specification {} is not supported", in_quotes(value)), "use xen");
        } else if (key == "script") {
            fail(start, "script= is not supported: domusd attaches devices itself",
                 "name the block device or image file itself");
        } else if (key == "persistent" || key == "no-persistent") {
            fail(start, fmt::format("'{}' takes no value", key), "write persistent or no-persistent");
        } else {
            fail(start, fmt::format("unknown parameter {}", in_quotes(key)),
                 "known are target, format, vdev, access, devtype, backendtype, backend, cdrom, discard, no-discard, "
                 "persistent, no-persistent");
        }
    }

    void backend_type(std::string_view value, std::size_t start) {
        if (value == "phy" || value == "kernel" || value == "linux")
            disk_.backend = Backend::Kernel;
        else if (value == "user" || value == "domus")
            disk_.backend = Backend::User;
        else
            fail(start, fmt::format("backendtype {} is not there", in_quotes(value)),
                 "use domus (domus-blockd) or linux (the kernel's driver), or leave backendtype= out");
        disk_.backend_type = value;
    }

    void finish() {
        if (disk_.vdev.empty())
            fail(spec_.size(), "the guest's name of the disk is missing", "add it third: '/path,raw,xvda,rw'");
        try {
            vdev_number(disk_.vdev);
        } catch (const ValueError& e) {
            fail(vdev_at_, e.wrong(), e.advice());
        }
        if (disk_.target.empty())
            fail(0, "the target is missing", "name a block device or an image file first: '/path,raw,xvda,rw'");
        if (disk_.target.find('\0') != std::string::npos)
            fail(0, "the target has a zero byte");
        if (is_remote(disk_.target))
            serve_by_nbd();
        else if (disk_.target[0] != '/')
            disk_.target = "/dev/" + disk_.target;
        if (disk_.cdrom && write_asked_)
            fail(0, "a cdrom cannot be written", "use access ro");
        disk_.read_only |= disk_.cdrom;
        if (disk_.format != "raw")
            serve_image();
        if (disk_.persistent && disk_.backend == Backend::Kernel)
            warnings_.push_back(fmt::format("disk flag '{}' has no effect on dom0's kernel, whose xen-blkback has a "
                                            "parameter for all disks, feature_persistent",
                                            persistent_word()));
        if (disk_.backend_domain.empty())
            return;
        if (disk_.backend == Backend::Kernel && !disk_.backend_type.empty())
            fail(0, fmt::format("backend={} needs backendtype=domus", disk_.backend_domain), "leave backendtype= out");
        disk_.backend = Backend::User;
    }

    void serve_image() {
        if (is_remote(disk_.target))
            fail(0, fmt::format("an NBD server gives bytes, not format {}", disk_.format), "use format raw");
        if (disk_.backend == Backend::Kernel)
            fail(0, fmt::format("dom0's kernel does not read format {}", disk_.format), "leave backendtype= out");
        if (!disk_.backend_domain.empty())
            fail(0, fmt::format("format {} is served in dom0 only", disk_.format), "leave backend= out");
    }

    void serve_by_nbd() {
        if (disk_.backend == Backend::Kernel && !disk_.backend_type.empty())
            fail(0, fmt::format("dom0's kernel cannot serve the NBD server {}", in_quotes(disk_.target)),
                 "use backendtype=domus, or leave it out");
        disk_.backend = Backend::User;
    }

    std::string_view spec_;
    std::vector<std::string>& warnings_;
    Disk disk_;
    std::array<bool, positions.size()> seen_{};
    std::size_t at_ = 0, next_ = 0, vdev_at_ = 0;
    bool rest_taken_ = false, old_style_ = false, write_asked_ = false;
};

} // namespace

bool is_remote(std::string_view target) {
    return std::any_of(nbd_schemes.begin(), nbd_schemes.end(),
                       [&](std::string_view scheme) { return target.starts_with(scheme); });
}

Disk parse_disk(std::string_view spec, std::vector<std::string>& warnings) {
    return DiskParser(spec, warnings).parse();
}

std::string to_string(const Disk& disk) {
    return fmt::format("format={},vdev={},access={}{}{}{}{}{},target={}", disk.format, disk.vdev,
                       disk.read_only ? "ro" : "rw", disk.cdrom ? ",cdrom" : "", disk.discard ? "" : ",no-discard",
                       !disk.persistent   ? ""
                       : *disk.persistent ? ",persistent"
                                          : ",no-persistent",
                       disk.backend_type.empty() ? "" : ",backendtype=" + disk.backend_type,
                       disk.backend_domain.empty() ? "" : ",backend=" + disk.backend_domain, disk.target);
}

} // namespace domus::model
