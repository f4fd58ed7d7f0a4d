// xl's network card strings, after xl-network-configuration(5). Owner: model/. No lock. Pure.
#pragma once

#include "toolstack/model/domain.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace domus::model {

/// Parses one vif string ("mac=00:16:3e:00:00:01,bridge=xenbr0", "" for all defaults). What is accepted without
/// effect (script= of another bridge, model=, type=) is told in `warnings`. Throws ValueError with the offset in
/// `spec`.
Vif parse_vif(std::string_view spec, std::vector<std::string>& warnings);

/// "10Mb/s", "250KB/s", "1MB/s@20ms" as credit per interval. Throws ValueError.
Rate parse_rate(std::string_view text);

/// The canonical string of a vif; parse_vif() of it gives the same vif.
std::string to_string(const Vif& vif);

} // namespace domus::model
