// The keys of a configuration file, as one table. Owner: config.cpp. No lock. Pure.
#include "toolstack/model/config_keys.hpp"

#include "toolstack/model/disk.hpp"
#include "toolstack/model/mac.hpp"
#include "toolstack/model/uuid.hpp"
#include "toolstack/model/vif.hpp"

#include <array>
#include <fmt/format.h>
#include <limits>
#include <utility>

namespace domus::model {

namespace {

const std::string& text_of(KeyReader& in, const Setting& s) {
    if (s.value.kind == Value::Kind::List)
        in.fail(s.value.at, fmt::format("{} takes a string, not a list", s.key), "write it in quotes");
    if (s.value.text.find('\0') != std::string::npos)
        in.fail(s.value.at, fmt::format("{} has a zero byte", s.key));
    return s.value.text;
}

std::uint64_t number_of(KeyReader& in, const Setting& s, std::uint64_t least, std::uint64_t most) {
    if (s.value.kind == Value::Kind::List)
        in.fail(s.value.at, fmt::format("{} takes a number, not a list", s.key));
    const auto number = parse_number(s.value.text, s.key);
    if (number < least || number > most)
        in.fail(s.value.at, fmt::format("{} is {}, out of range", s.key, number),
                fmt::format("use {} to {}", least, most));
    return number;
}

void read_name(KeyReader& in, const Setting& s) {
    in.parsed.domain.name = text_of(in, s);
    try {
        validate_name(in.parsed.domain.name);
    } catch (const std::runtime_error& e) {
        in.fail(s.value.at, e.what());
    }
}
void read_uuid(KeyReader& in, const Setting& s) {
    in.parsed.domain.uuid = parse_uuid(text_of(in, s));
}
void read_kernel(KeyReader& in, const Setting& s) {
    in.parsed.domain.kernel = text_of(in, s);
}
void read_ramdisk(KeyReader& in, const Setting& s) {
    in.parsed.domain.ramdisk = text_of(in, s);
}
void read_cmdline(KeyReader& in, const Setting& s) {
    in.cmdline = text_of(in, s);
}
void read_root(KeyReader& in, const Setting& s) {
    in.root = text_of(in, s);
}
void read_extra(KeyReader& in, const Setting& s) {
    in.extra = text_of(in, s);
}
void read_memory(KeyReader& in, const Setting& s) {
    in.parsed.domain.memory_kib = number_of(in, s, 1, most_memory_mib) * 1024;
}
void read_maxmem(KeyReader& in, const Setting& s) {
    in.parsed.domain.max_memory_kib = number_of(in, s, 1, most_memory_mib) * 1024;
    in.max_memory_given = true;
}
void read_vcpus(KeyReader& in, const Setting& s) {
    in.parsed.domain.vcpus = std::uint32_t(number_of(in, s, 1, most_vcpus));
}
void read_maxvcpus(KeyReader& in, const Setting& s) {
    in.parsed.domain.max_vcpus = std::uint32_t(number_of(in, s, 1, most_vcpus));
    in.max_vcpus_given = true;
}
void read_weight(KeyReader& in, const Setting& s) {
    in.parsed.domain.cpu_weight = std::uint32_t(number_of(in, s, 1, most_weight));
}
void read_cap(KeyReader& in, const Setting& s) {
    in.parsed.domain.cap = std::uint32_t(number_of(in, s, 0, most_cap));
}
void read_tsc_mode(KeyReader& in, const Setting& s) {
    in.parsed.domain.tsc_mode = parse_tsc_mode(text_of(in, s));
}
void read_on_poweroff(KeyReader& in, const Setting& s) {
    in.parsed.domain.on_poweroff = parse_action(text_of(in, s));
}
void read_on_reboot(KeyReader& in, const Setting& s) {
    in.parsed.domain.on_reboot = parse_action(text_of(in, s));
}
void read_on_crash(KeyReader& in, const Setting& s) {
    in.parsed.domain.on_crash = parse_action(text_of(in, s));
}
void read_on_watchdog(KeyReader& in, const Setting& s) {
    in.parsed.domain.on_watchdog = parse_action(text_of(in, s));
}

void read_type(KeyReader& in, const Setting& s) {
    const auto& type = text_of(in, s);
    if (type != "pv" && !(s.key == "builder" && (type == "generic" || type == "linux")))
        in.fail(s.value.at, fmt::format("{} guests are not supported, only paravirtual ones", in_quotes(type)),
                "write type=\"pv\", with a kernel built for Xen PV (any of Debian's is)");
}

template <class Item>
void read_list(KeyReader& in, const Setting& s, std::vector<Item>& out,
               Item (*parse)(std::string_view, std::vector<std::string>&)) {
    if (s.value.kind != Value::Kind::List)
        in.fail(s.value.at, fmt::format("{} takes a list", s.key), fmt::format("write {} = [ '...' ]", s.key));
    if (!s.append)
        out.clear();
    for (const auto& item : s.value.items) {
        if (item.kind != Value::Kind::String)
            in.fail(item.at, fmt::format("an item of {} is not a string", s.key), "write each in quotes");
        std::vector<std::string> warnings;
        try {
            out.push_back(parse(item.text, warnings));
        } catch (const ValueError& e) {
            in.fail({item.at.line, item.at.column + 1 + unsigned(e.offset())}, e.wrong(), e.advice());
        }
        for (const auto& warning : warnings)
            in.warn(item.at, warning);
    }
}
void read_disk(KeyReader& in, const Setting& s) {
    read_list<Disk>(in, s, in.parsed.domain.disks, parse_disk);
}
void read_vif(KeyReader& in, const Setting& s) {
    read_list<Vif>(in, s, in.parsed.domain.vifs, parse_vif);
}

using Reader = void (*)(KeyReader&, const Setting&);
constexpr std::array<std::pair<std::string_view, Reader>, 25> keys = {{
    {"name", read_name},
    {"uuid", read_uuid},
    {"type", read_type},
    {"builder", read_type},
    {"kernel", read_kernel},
    {"ramdisk", read_ramdisk},
    {"cmdline", read_cmdline},
    {"root", read_root},
    {"extra", read_extra},
    {"memory", read_memory},
    {"maxmem", read_maxmem},
    {"vcpus", read_vcpus},
    {"maxvcpus", read_maxvcpus},
    {"cpu_weight", read_weight},
    {"cap", read_cap},
    {"tsc_mode", read_tsc_mode},
    {"disk", read_disk},
    {"vif", read_vif},
    {"on_poweroff", read_on_poweroff},
    {"on_shutdown", read_on_poweroff},
    {"on_reboot", read_on_reboot},
    {"on_crash", read_on_crash},
    {"on_watchdog", read_on_watchdog},
    {"bridge", nullptr},
    {"vfb", nullptr},
}};

template <class Enum, std::size_t N>
Enum word_of(std::string_view word, const std::array<std::pair<std::string_view, Enum>, N>& words,
             std::string_view what) {
    std::string known;
    for (const auto& [text, value] : words) {
        if (text == word)
            return value;
        known += (known.empty() ? "" : ", ") + std::string(text);
    }
    throw ValueError(0, fmt::format("{} is not {}", in_quotes(word), what), "use one of " + known);
}

template <class Enum, std::size_t N>
std::string_view name_of(Enum value, const std::array<std::pair<std::string_view, Enum>, N>& words) {
    for (const auto& [text, candidate] : words)
        if (candidate == value)
            return text;
    return "?";
}

constexpr std::array<std::pair<std::string_view, Action>, 6> actions = {{
    {"destroy", Action::Destroy},
    {"restart", Action::Restart},
    {"rename-restart", Action::RenameRestart},
    {"preserve", Action::Preserve},
    {"coredump-destroy", Action::CoredumpDestroy},
    {"coredump-restart", Action::CoredumpRestart},
}};

constexpr std::array<std::pair<std::string_view, TscMode>, 8> tsc_modes = {{
    {"default", TscMode::Default},
    {"always_emulate", TscMode::AlwaysEmulate},
    {"native", TscMode::Native},
    {"native_paravirt", TscMode::NativeParavirt},
    {"0", TscMode::Default},
    {"1", TscMode::AlwaysEmulate},
    {"2", TscMode::Native},
    {"3", TscMode::NativeParavirt},
}};

} // namespace

std::string_view to_string(Action action) {
    return name_of(action, actions);
}
Action parse_action(std::string_view word) {
    return word_of(word, actions, "an action");
}
std::string_view to_string(TscMode mode) {
    return name_of(mode, tsc_modes);
}
TscMode parse_tsc_mode(std::string_view word) {
    return word_of(word, tsc_modes, "a TSC mode");
}

void KeyReader::warn(Position at, const std::string& text) {
    parsed.warnings.push_back(fmt::format("{}:{}:{}: warning: {}", place_, at.line, at.column, text));
}

void KeyReader::fail(Position at, const std::string& wrong, const std::string& advice) const {
    throw ConfigError(place_, at, wrong, advice);
}

void KeyReader::apply(const Setting& setting) {
    place_ = setting.file;
    if (setting.replaced)
        warn(setting.at, fmt::format("{} is set again; its value at line {} is not used", in_quotes(setting.key),
                                     setting.replaced->line));
    std::vector<std::string_view> known;
    for (const auto& [name, read] : keys) {
        if (name != setting.key) {
            known.push_back(name);
            continue;
        }
        if (read == nullptr)
            return warn(setting.at, fmt::format("{} has no effect for a paravirtual guest here", in_quotes(name)));
        try {
            return read(*this, setting);
        } catch (const ValueError& e) {
            fail(setting.value.at, e.wrong(), e.advice());
        }
    }
    const auto near = nearest(setting.key, known);
    warn(setting.at, fmt::format("unknown setting {} is ignored{}", in_quotes(setting.key),
                                 near.empty() ? "" : fmt::format("; did you mean {}?", in_quotes(near))));
}

Parsed KeyReader::finish() {
    place_ = file_;
    auto& domain = parsed.domain;
    if (!max_memory_given)
        domain.max_memory_kib = domain.memory_kib;
    if (!max_vcpus_given)
        domain.max_vcpus = domain.vcpus;
    if (cmdline) {
        domain.cmdline = *cmdline;
        if (!root.empty() || !extra.empty())
            warn({1, 1}, "cmdline= is given, so root= and extra= are ignored");
    } else {
        domain.cmdline = root.empty() ? extra : "root=" + root + (extra.empty() ? "" : " " + extra);
    }
    try {
        validate(domain);
    } catch (const std::runtime_error& e) {
        throw std::runtime_error(fmt::format("{}: {}", file_, e.what()));
    }
    return std::move(parsed);
}

} // namespace domus::model
