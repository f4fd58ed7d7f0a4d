// xl's network card strings, after xl-network-configuration(5). Owner: model/. No lock. Pure.
#include "toolstack/model/vif.hpp"

#include "toolstack/model/mac.hpp"
#include "toolstack/model/switch_port.hpp"
#include "toolstack/model/text.hpp"

#include <fmt/format.h>
#include <limits>
#include <set>
#include <utility>

namespace domus::model {

namespace {

constexpr std::string_view switch_script = "vif-openvswitch";

/// A bridge of Linux's, or of Open vSwitch's with VLANs. Which it is, only dom0 knows: a dot may be part of either.
std::string bridge_name(std::string_view value) {
    const bool dotted = value.find('.') != std::string_view::npos;
    if (value.find(':') == std::string_view::npos && (!dotted || value.size() <= longest_interface))
        return interface_name(value, "bridge");
    parse_switch_port(value);
    return std::string(value);
}

void set_backend_type(Vif& vif, std::string_view value) {
    if (value == "linux" || value == "kernel" || value == "vif")
        vif.backend = Backend::Kernel;
    else if (value == "user" || value == "domus")
        vif.backend = Backend::User;
    else
        throw ValueError(0, fmt::format("backendtype {} is not there", in_quotes(value)),
                         "use domus or linux, or leave backendtype= out");
    vif.backend_type = value;
}

/// What depends on more than one key.
void finish(Vif& vif) {
    if (vif.open_vswitch)
        parse_switch_port(vif.bridge);
    if (vif.backend_domain.empty())
        return;
    if (vif.open_vswitch || vif.bridge.find(':') != std::string::npos)
        throw ValueError(0,
                         fmt::format("vif: the bridge {} of backend={} would be Open vSwitch's, which only dom0's "
                                     "domusd can set up",
                                     vif.bridge, vif.backend_domain),
                         "name a bridge of Linux's there, or leave backend= out");
    // Its backend is ours then: Linux's is for the toolstack of its own domain to set up.
    if (vif.backend == Backend::Kernel && !vif.backend_type.empty())
        throw ValueError(0, fmt::format("vif: backend={} needs backendtype=domus", vif.backend_domain),
                         "leave backendtype= out");
    vif.backend = Backend::User;
}

void set_pair(Vif& vif, std::string_view key, std::string_view value, std::vector<std::string>& warnings) {
    if (key == "mac")
        vif.mac = parse_mac(value);
    else if (key == "bridge")
        vif.bridge = bridge_name(value);
    else if (key == "vifname")
        vif.vifname = interface_name(value, "vifname");
    else if (key == "ip") {
        if (value.find('\0') != std::string_view::npos)
            throw ValueError(0, "ip has a zero byte");
        vif.ip = value;
    } else if (key == "rate")
        vif.rate = parse_rate(value);
    else if (key == "mtu" || key == "devid") {
        const auto number = parse_number(value, key);
        if (key == "mtu" && (number < 68 || number > 65535))
            throw ValueError(0, fmt::format("mtu {} is out of range", number), "use 68 to 65535");
        if (key == "devid" && number > 255)
            throw ValueError(0, fmt::format("devid {} is out of range", number), "use 0 to 255");
        (key == "mtu" ? vif.mtu : vif.devid) = std::uint32_t(number);
    } else if (key == "backendtype")
        set_backend_type(vif, value);
    else if (key == "backend") {
        vif.backend_domain = backend_domain(value);
    } else if (key == "script" && value.substr(value.rfind('/') + 1) == switch_script)
        vif.open_vswitch = true;
    else if (key == "script")
        warnings.push_back("vif: script= is ignored, domusd puts the interface on its bridge itself");
    else if (key == "model" || key == "type" || key == "gatewaydev" || key == "netdev")
        warnings.push_back(fmt::format("vif: {}= has no effect for a paravirtual guest on a bridge", key));
    else
        throw ValueError(0, fmt::format("unknown parameter {}", in_quotes(key)),
                         "known are mac, bridge, script, vifname, ip, rate, mtu, devid, backendtype, backend");
}

/// A number and the suffix after it.
std::pair<std::uint64_t, std::string_view> number_and_unit(std::string_view text, std::string_view whole) {
    const auto end = std::min(text.find_first_not_of("0123456789"), text.size());
    if (end == 0 || end > 12)
        throw ValueError(0, fmt::format("rate {} is not understood", in_quotes(whole)),
                         "write it like 10Mb/s or 1MB/s@20ms");
    const std::string digits(text.substr(0, end));
    return {std::stoull(digits), text.substr(end)};
}

std::uint32_t interval_us(std::string_view text, std::string_view whole) {
    const auto [count, unit] = number_and_unit(text, whole);
    const std::uint64_t scale = unit == "us" || unit.empty() ? 1 : unit == "ms" ? 1'000 : unit == "s" ? 1'000'000 : 0;
    if (scale == 0 || count == 0 || count > 3'600'000'000ull / scale)
        throw ValueError(0, fmt::format("the interval of rate {} is not understood", in_quotes(whole)),
                         "write it like @50ms");
    return std::uint32_t(count * scale);
}

} // namespace

Rate parse_rate(std::string_view text) {
    Rate rate;
    const auto at = text.find('@');
    if (at != std::string_view::npos)
        rate.interval_us = interval_us(text.substr(at + 1), text);
    auto [count, unit] = number_and_unit(text.substr(0, at), text);
    const bool bits = unit.ends_with("b/s");
    if (!bits && !unit.ends_with("B/s"))
        throw ValueError(0, fmt::format("rate {} is not understood", in_quotes(text)),
                         "write it like 10Mb/s or 1MB/s@20ms");
    const std::string_view prefix = unit.substr(0, unit.size() - 3);
    const std::uint64_t scale = prefix.empty()  ? 1
                                : prefix == "K" ? 1'000
                                : prefix == "M" ? 1'000'000
                                : prefix == "G" ? 1'000'000'000
                                                : 0;
    std::uint64_t per_second = 0, credit = 0;
    if (scale == 0 || __builtin_mul_overflow(count, scale, &per_second))
        throw ValueError(0, fmt::format("the unit of rate {} is not understood", in_quotes(text)),
                         "use b, Kb, Mb, Gb or B, KB, MB, GB per second");
    per_second /= bits ? 8 : 1;
    if (__builtin_mul_overflow(per_second, rate.interval_us, &credit) ||
        credit / 1'000'000 > std::numeric_limits<std::uint32_t>::max())
        throw ValueError(0, fmt::format("rate {} is too high to be a limit", in_quotes(text)),
                         "leave rate= out for no limit");
    rate.bytes = credit / 1'000'000;
    if (rate.bytes == 0)
        throw ValueError(0, fmt::format("rate {} lets nothing through", in_quotes(text)),
                         "raise it, or make the interval longer");
    return rate;
}

Vif parse_vif(std::string_view spec, std::vector<std::string>& warnings) {
    Vif vif;
    std::set<std::string_view> seen;
    for (std::size_t at = 0; at <= spec.size();) {
        const std::size_t end = std::min(spec.find(',', at), spec.size());
        const std::string_view raw = spec.substr(at, end - at);
        const std::string_view word = trim(raw);
        const std::size_t start = at + (word.empty() ? 0 : std::size_t(word.data() - raw.data()));
        at = end + 1;
        if (word.empty())
            continue;
        if (word == "trusted" || word == "untrusted") {
            warnings.push_back(fmt::format("vif: '{}' has no effect", word));
            continue;
        }
        const auto equals = word.find('=');
        if (equals == std::string_view::npos)
            throw ValueError(start, fmt::format("vif: {} is not key=value", in_quotes(word)), "like bridge=xenbr0");
        const std::string_view key = trim(word.substr(0, equals));
        if (!seen.insert(key).second)
            throw ValueError(start, fmt::format("vif: '{}' is given twice", key), "give it once");
        try {
            set_pair(vif, key, trim(word.substr(equals + 1)), warnings);
        } catch (const ValueError& e) {
            throw ValueError(start, fmt::format("vif: {}", e.wrong()), e.advice());
        }
    }
    finish(vif);
    return vif;
}

std::string to_string(const Vif& vif) {
    std::string out = "bridge=" + vif.bridge;
    if (vif.mac)
        out += ",mac=" + to_string(*vif.mac);
    if (!vif.vifname.empty())
        out += ",vifname=" + vif.vifname;
    if (!vif.ip.empty())
        out += ",ip=" + vif.ip;
    if (vif.devid)
        out += fmt::format(",devid={}", *vif.devid);
    if (vif.mtu)
        out += fmt::format(",mtu={}", *vif.mtu);
    if (vif.rate) // credit per interval, written back as bytes per second, rounded so that parsing gives it again
        out += fmt::format(",rate={}B/s@{}us",
                           (vif.rate->bytes * 1'000'000 + vif.rate->interval_us - 1) / vif.rate->interval_us,
                           vif.rate->interval_us);
    if (vif.open_vswitch)
        out += fmt::format(",script={}", switch_script);
    if (!vif.backend_type.empty())
        out += ",backendtype=" + vif.backend_type;
    if (!vif.backend_domain.empty())
        out += ",backend=" + vif.backend_domain;
    return out;
}

} // namespace domus::model
