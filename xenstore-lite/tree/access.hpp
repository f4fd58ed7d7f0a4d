// Who asks, and what a permission list lets them do. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "xenstore-lite/wire/permission.hpp"

namespace domus::xenstore::tree {

/// The domain behind a connection. Domain 0 is privileged: it may do everything and has no quotas.
struct Caller {
    std::uint16_t domid = 0;
    std::optional<std::uint16_t> target; ///< SET_TARGET: acts with this domain's permissions as well

    bool privileged() const { return domid == 0; }
    bool is(std::uint16_t other) const { return domid == other || target == other; }
};

bool may_read(const Caller& caller, const std::vector<Permission>& permissions);
bool may_write(const Caller& caller, const std::vector<Permission>& permissions);
/// Owners may change permissions.
bool owns(const Caller& caller, const std::vector<Permission>& permissions);

} // namespace domus::xenstore::tree
