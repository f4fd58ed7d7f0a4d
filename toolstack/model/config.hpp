// A configuration file as a guest: settings to model::Domain, with a message for everything that is not understood.
// Owner: the caller. No lock. Called by `domus create` and `domus config-check`. Reads one file; changes nothing.
#pragma once

#include "toolstack/model/domain.hpp"
#include "toolstack/model/text.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace domus::model {

inline constexpr std::uint64_t most_memory_mib = 16u << 20; // 16 TiB, more than any machine has
inline constexpr std::uint32_t most_vcpus = 512, most_weight = 65535, most_cap = 100 * most_vcpus;

struct Parsed {
    Domain domain;
    std::vector<std::string> warnings; // "FILE:LINE:COLUMN: ...", in the order of the file
};

/// Parses a configuration text. Throws ConfigError.
Parsed parse_config(const std::string& file, std::string_view text);

/// Reads and parses the file at `path`, then the `overrides` ("key=value", as xl takes them after the file name; a
/// bare word is taken as a string; `+=` adds to the file's value). Relative paths of kernel and ramdisk are made
/// absolute against the working directory; a disk's counts from /dev, as xl has it. Throws ConfigError, or
/// std::runtime_error when the file cannot be read.
Parsed load_config(const std::string& path, const std::vector<std::string>& overrides = {});

/// The word of an action as the file has it, and back (throws ValueError).
std::string_view to_string(Action action);
Action parse_action(std::string_view word);
std::string_view to_string(TscMode mode);
TscMode parse_tsc_mode(std::string_view word);

/// Checks what no single key can say (a name, a kernel, memory <= maxmem, vcpus <= maxvcpus, no disk name or MAC
/// twice) and every limit, for guests that did not come through the parser. Throws std::runtime_error with a message
/// for a person. Called by the parser and again by domusd.
void validate(const Domain& domain);

/// Throws std::runtime_error when `name` cannot name a guest.
void validate_name(const std::string& name);

} // namespace domus::model
