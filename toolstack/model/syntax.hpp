// The syntax tree of a configuration file: settings with values and where each stands.
// Owner: whoever parses. No lock. Knows nothing of which keys exist; that is config.cpp.
#pragma once

#include "toolstack/model/text.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace domus::model {

/// A string, a number (kept as text) or a list of values.
struct Value {
    enum class Kind { String, Number, List } kind = Kind::String;
    std::string text;
    std::vector<Value> items;
    Position at;
};

struct Setting {
    std::string key;
    Value value;
    Position at;
    std::string file;                 // what `at` and the value's places are in
    bool append = false;              // `+=` with nothing before it in this text
    std::optional<Position> replaced; // an earlier setting of the key, now without effect
};

/// Parses `text`, which must be UTF-8. `file` is used in messages only. A key set twice takes the later value, `+=`
/// appends to the earlier one (both as xl does). Throws ConfigError. Lists nest at most 8 deep.
std::vector<Setting> parse_settings(const std::string& file, std::string_view text);

} // namespace domus::model
