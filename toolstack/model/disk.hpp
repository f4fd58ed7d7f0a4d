// xl's disk strings, after xl-disk-configuration(5). Owner: model/. No lock. Pure.
#pragma once

#include "toolstack/model/domain.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace domus::model {

/// Parses one disk string ("/dev/vg/g,raw,xvda,rw", "format=raw, vdev=xvda, access=ro, target=/x", or the old
/// "phy:/dev/vg/g,xvda,w"). What is accepted without effect is told in `warnings`. Throws ValueError, with the
/// offset in `spec`, for what cannot be used: an unknown key, a format that no backend reads.
Disk parse_disk(std::string_view spec, std::vector<std::string>& warnings);

/// Whether a disk's target is the URI of an NBD server, which only domus-blockd can serve.
bool is_remote(std::string_view target);

/// The canonical string of a disk; parse_disk() of it gives the same disk.
std::string to_string(const Disk& disk);

} // namespace domus::model
