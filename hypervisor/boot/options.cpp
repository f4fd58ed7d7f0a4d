// The hypervisor's command line. Owner: boot. Unknown options are kept for a warning, never an error: the same line
// boots Xen.
#include "hypervisor/boot/options.hpp"

#include "hypervisor/base/checked.hpp"
#include "hypervisor/core/domain.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

constexpr u64 too_large = ~u64{0}; // what does not fit is much, not little

u64 parse_number(std::string_view& text) {
    u64 value = 0;
    const bool hex = text.starts_with("0x");
    if (hex)
        text.remove_prefix(2);
    const u64 base = hex ? 16 : 10;
    while (!text.empty()) {
        const char c = text.front();
        const u64 digit = c >= '0' && c <= '9'   ? static_cast<u64>(c - '0')
                          : c >= 'a' && c <= 'f' ? static_cast<u64>(c - 'a' + 10)
                                                 : 99;
        if (digit >= base)
            break;
        const auto shifted = checked_multiply(value, base);
        value = shifted ? checked_add(*shifted, digit).value_or(too_large) : too_large;
        text.remove_prefix(1);
    }
    return value;
}

// 512M, 1G, 262144K, or KiB without a letter, as Xen reads it.
u64 parse_size(std::string_view text) {
    const u64 value = parse_number(text);
    const char unit = text.empty() ? 'k' : static_cast<char>(text.front() | 32);
    const u32 shift = unit == 'b' ? 0 : unit == 'm' ? 20 : unit == 'g' ? 30 : 10;
    return checked_multiply(value, u64{1} << shift).value_or(too_large);
}

// dom0_mem=SIZE[,min:SIZE][,max:SIZE]: the plain size counts, else max.
u64 parse_dom0_memory(std::string_view value) {
    u64 size = 0, maximum = 0;
    while (!value.empty()) {
        const usize comma = value.find(',');
        std::string_view part = value.substr(0, comma);
        value = comma == value.npos ? std::string_view{} : value.substr(comma + 1);
        if (part.starts_with("max:"))
            maximum = parse_size(part.substr(4));
        else if (!part.starts_with("min:"))
            size = parse_size(part);
    }
    return size ? size : maximum;
}

// com1=BAUD[,8n1[,PORT]]; what the serial line cannot do leaves the setting as it is.
void parse_serial(Options& o, std::string_view value) {
    constexpr u64 fastest = 115200, last_port = 0xfff8;
    if (const u64 baud = parse_number(value); baud != 0 && baud <= fastest)
        o.baud = static_cast<u32>(baud);
    const usize first = value.find(','), second = first == value.npos ? value.npos : value.find(',', first + 1);
    if (second == value.npos)
        return;
    std::string_view port = value.substr(second + 1);
    if (const u64 number = parse_number(port); number != 0 && number <= last_port)
        o.serial_port = static_cast<u16>(number);
}

bool parse_switch(std::string_view value) {
    return value.empty() || value == "1" || value == "yes" || value == "true" || value == "on";
}

void remember_unknown(Options& o, std::string_view word) {
    usize used = std::string_view(o.unknown).size();
    if (used + word.size() + 2 > sizeof o.unknown)
        return;
    o.unknown[used++] = ' ';
    for (char c : word)
        o.unknown[used++] = c;
}

void parse_option(Options& o, std::string_view word) {
    const usize equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    std::string_view value = equals == word.npos ? std::string_view{} : word.substr(equals + 1);
    if (name == "dom0_mem")
        o.dom0_bytes = parse_dom0_memory(value);
    else if (name == "dom0_max_vcpus")
        o.dom0_vcpus = static_cast<u32>(std::clamp<u64>(parse_number(value), 1, max_vcpus_per_domain));
    else if (name == "com1")
        parse_serial(o, value);
    else if (name == "loglvl")
        o.log_level = level_named(value, o.log_level);
    else if (name == "guest_loglvl")
        o.guest_level = level_named(value, o.guest_level);
    else if (name == "extension")
        o.extension = value == "no" ? 0 : static_cast<u32>(parse_number(value));
    else if (name == "superpages")
        o.superpages = parse_switch(value);
    else if (name == "noreboot")
        o.noreboot = parse_switch(value);
    else if (name == "fast-syscall")
        o.fast_syscall = parse_switch(value);
    else if (name == "fast-iret")
        o.fast_iret = parse_switch(value);
    else if (name == "fast-fault")
        o.fast_fault = parse_switch(value);
    else if (name == "fast-hypercall")
        o.fast_hypercall = parse_switch(value);
    else if (name == "fast-tables")
        o.fast_tables = value == "no" ? 0 : static_cast<u32>(parse_number(value));
    else if (name == "erms")
        o.erms = parse_switch(value);
    else if (name == "unhook")
        o.unhook = value == "no" ? 0 : static_cast<u32>(parse_number(value));
    else if (name != "console" && name != "placeholder")
        remember_unknown(o, word);
}

// Loaders put the file's name first, with a path or without one.
bool is_file_name(std::string_view word) {
    return word.find('=') == word.npos && (word.find('/') != word.npos || word.ends_with(".elf"));
}

} // namespace

Options parse_options(std::string_view line) {
    Options o;
    for (bool first = true; !line.empty();) {
        const usize end = line.find(' ');
        const std::string_view word = line.substr(0, end);
        line = end == line.npos ? std::string_view{} : line.substr(end + 1);
        if (word.empty())
            continue;
        if (!first || !is_file_name(word))
            parse_option(o, word);
        first = false;
    }
    return o;
}

} // namespace domus::hv
