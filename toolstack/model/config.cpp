// Configuration files: read, parse, apply overrides, check. Owner: the caller. No lock.
#include "toolstack/model/config.hpp"

#include "toolstack/model/config_keys.hpp"
#include "toolstack/model/syntax.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>

namespace domus::model {

namespace {

constexpr std::size_t largest_file = 1 << 20; // a configuration is a page of text; more is a wrong file

std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in || std::filesystem::is_directory(path))
        throw std::runtime_error(fmt::format("cannot read the configuration file {}: {}; check the path", path,
                                             in ? "it is a directory" : std::strerror(errno)));
    std::string text;
    char block[4096];
    while (in.read(block, sizeof block), in.gcount() > 0) {
        text.append(block, std::size_t(in.gcount()));
        if (text.size() > largest_file)
            throw std::runtime_error(
                fmt::format("{} is larger than 1 MiB; this is no configuration file, check the path", path));
    }
    return text;
}

void make_absolute(std::string& path) {
    if (!path.empty() && path[0] != '/')
        path = std::filesystem::absolute(path).lexically_normal();
}

Setting parse_override(const std::string& text) {
    const std::string place = fmt::format("command line {}", in_quotes(text));
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
        throw std::runtime_error(
            fmt::format("{} is not KEY=VALUE; settings after the file name look like memory=512", in_quotes(text)));
    const std::string_view value = trim(std::string_view(text).substr(equals + 1));
    try {
        auto settings = parse_settings(place, text);
        if (settings.size() == 1)
            return settings[0];
    } catch (const ConfigError&) {
        if (value.starts_with('[') || value.starts_with('"') || value.starts_with('\''))
            throw;
        // Not valid as it stands: `on_crash=preserve` from a shell has lost its quotes. Taken as a string below.
    }
    Setting setting;
    setting.key = std::string(trim(std::string_view(text).substr(0, equals)));
    setting.value.text = std::string(value);
    setting.value.at = {1, unsigned(value.data() - text.data()) + 1};
    setting.file = place;
    return setting;
}

/// Puts a setting after those of the file. What adds to a list stays beside the file's, so that each keeps its place.
void override(std::vector<Setting>& settings, Setting setting) {
    const auto old = std::find_if(settings.begin(), settings.end(), [&](auto& s) { return s.key == setting.key; });
    if (setting.append && old != settings.end() && setting.value.kind == Value::Kind::String &&
        old->value.kind == Value::Kind::String) {
        old->value.text += setting.value.text;
        return;
    }
    if (!setting.append)
        std::erase_if(settings, [&](const Setting& s) { return s.key == setting.key; });
    settings.push_back(std::move(setting));
}

} // namespace

Parsed parse_config(const std::string& file, std::string_view text) {
    KeyReader reader(file);
    for (const auto& setting : parse_settings(file, text))
        reader.apply(setting);
    return reader.finish();
}

Parsed load_config(const std::string& path, const std::vector<std::string>& overrides) {
    KeyReader reader(path);
    auto settings = parse_settings(path, read_file(path));
    for (const auto& text : overrides)
        override(settings, parse_override(text));
    for (const auto& setting : settings)
        reader.apply(setting);
    Parsed parsed = reader.finish();
    make_absolute(parsed.domain.kernel);
    make_absolute(parsed.domain.ramdisk);
    return parsed;
}

} // namespace domus::model
