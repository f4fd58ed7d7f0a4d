// The keys of a configuration file: what each means and which values it takes.
// Owner: config.cpp. No lock. A new key is one row of the table in config_keys.cpp.
#pragma once

#include "toolstack/model/config.hpp"
#include "toolstack/model/syntax.hpp"

#include <optional>
#include <string>
#include <vector>

namespace domus::model {

/// Turns settings into a Domain, one at a time; finish() checks the whole.
class KeyReader {
public:
    explicit KeyReader(std::string file) : file_(file), place_(std::move(file)) {}

    /// Takes one setting in. An unknown key is a warning with the nearest known one. Throws ConfigError.
    void apply(const Setting& setting);

    /// Fills what follows from other keys and validates. Throws ConfigError.
    Parsed finish();

    // Used by the table of keys.
    Parsed parsed;
    std::string root, extra;
    std::optional<std::string> cmdline;
    bool max_memory_given = false, max_vcpus_given = false;

    void warn(Position at, const std::string& text);
    [[noreturn]] void fail(Position at, const std::string& wrong, const std::string& advice = {}) const;

private:
    std::string file_;
    std::string place_; // what positions are in: the file, or a setting on the command line
};

} // namespace domus::model
