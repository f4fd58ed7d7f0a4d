// libFuzzer target: any bytes as a guest's configuration, or as one of the strings in it (the first byte chooses).
// What is accepted must keep its meaning when it is written and read again; what is refused must be refused with a
// place inside the text and a message that a terminal shows as it is. Run: config_fuzz -max_len=4096 -max_total_time=60
// CORPUS tests/fuzz/toolstack/seeds
#include "toolstack/model/config.hpp"
#include "toolstack/model/disk.hpp"
#include "toolstack/model/mac.hpp"
#include "toolstack/model/uuid.hpp"
#include "toolstack/model/vdev.hpp"
#include "toolstack/model/vif.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

using namespace domus::model;

namespace {

[[noreturn]] void broken(const char* what, std::string_view text) {
    std::fprintf(stderr, "%s: %.*s\n", what, int(text.size()), text.data());
    std::abort();
}

void check_message(std::string_view message) {
    for (unsigned char c : message)
        if (c < 0x20 || c == 0x7f)
            broken("a control byte in a message", message);
}

void check_place(std::string_view text, Position at) {
    const auto lines = std::size_t(std::count(text.begin(), text.end(), '\n')) + 1;
    if (at.line < 1 || at.line > lines || at.column < 1 || at.column > text.size() + 1)
        broken("a place outside the text", text);
}

template <class Thing, class Parse>
void check_comes_back(const Thing& thing, Parse parse) {
    const std::string text = to_string(thing);
    try {
        if (parse(text) != thing)
            broken("read back it is another", text);
    } catch (const ValueError&) {
        broken("it cannot be read back", text);
    }
}

Disk disk(std::string_view text) {
    std::vector<std::string> warnings;
    Disk out = parse_disk(text, warnings);
    for (const auto& warning : warnings)
        check_message(warning);
    return out;
}

Vif vif(std::string_view text) {
    std::vector<std::string> warnings;
    Vif out = parse_vif(text, warnings);
    for (const auto& warning : warnings)
        check_message(warning);
    return out;
}

void check_config(std::string_view text) {
    try {
        const Parsed parsed = parse_config("f.cfg", text);
        validate(parsed.domain);
        for (const auto& warning : parsed.warnings)
            check_message(warning);
        for (const auto& each : parsed.domain.disks)
            check_comes_back(each, disk);
        for (const auto& each : parsed.domain.vifs)
            check_comes_back(each, vif);
    } catch (const ConfigError& e) {
        check_message(e.what());
        check_place(text, e.at());
    } catch (const std::runtime_error& e) { // what no single place is to blame for
        check_message(e.what());
    }
}

void check_vdev(std::string_view text) {
    const auto number = vdev_number(text);
    if (vdev_number(vdev_name(number)) != number)
        broken("a disk's name is another's", text);
}

void check_string(unsigned kind, std::string_view text) {
    try {
        switch (kind) {
        case 0:
            return check_comes_back(disk(text), disk);
        case 1:
            return check_comes_back(vif(text), vif);
        case 2:
            return check_comes_back(parse_mac(text), parse_mac);
        case 3:
            return check_comes_back(parse_uuid(text), parse_uuid);
        case 4:
            return check_vdev(text);
        default:
            parse_rate(text);
        }
    } catch (const ValueError& e) {
        check_message(e.what());
        if (e.offset() > text.size())
            broken("an offset outside the text", text);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const bool single = !text.empty() && text[0] >= '0' && text[0] <= '5'; // no configuration begins with a digit
    if (single)
        check_string(unsigned(text[0] - '0'), text.substr(1));
    else
        check_config(text);
    return 0;
}
