// Permission lists. See access.hpp.
#include "xenstore-lite/tree/access.hpp"

namespace domus::xenstore::tree {

namespace {
/// The first entry for the domain decides; the owner may do everything; the owner's entry holds for the rest.
char access_of(std::uint16_t domid, const std::vector<Permission>& permissions) {
    if (permissions.front().domid == domid) {
        return 'b';
    }
    for (std::size_t i = 1; i < permissions.size(); ++i) {
        if (permissions[i].domid == domid) {
            return permissions[i].access;
        }
    }
    return permissions.front().access;
}

bool may(const Caller& caller, const std::vector<Permission>& permissions, char wanted) {
    const auto granted = [&](std::uint16_t domid) {
        const char access = access_of(domid, permissions);
        return access == 'b' || access == wanted;
    };
    return caller.privileged() || granted(caller.domid) || (caller.target && granted(*caller.target));
}
} // namespace

bool may_read(const Caller& caller, const std::vector<Permission>& permissions) {
    return may(caller, permissions, 'r');
}

bool may_write(const Caller& caller, const std::vector<Permission>& permissions) {
    return may(caller, permissions, 'w');
}

bool owns(const Caller& caller, const std::vector<Permission>& permissions) {
    return caller.privileged() || caller.is(permissions.front().domid);
}

} // namespace domus::xenstore::tree
