// Unique identifiers of guests. Owner: model/. No lock. Pure, but for the entropy make_uuid() reads.
#pragma once

#include "toolstack/model/domain.hpp"

#include <string>
#include <string_view>

namespace domus::model {

/// Parses "8-4-4-4-12" hexadecimal digits (hyphens may be left out). Throws ValueError.
Uuid parse_uuid(std::string_view text);

/// "8-4-4-4-12", lower case.
std::string to_string(const Uuid& uuid);

/// A random (version 4) identifier.
Uuid make_uuid();

} // namespace domus::model
