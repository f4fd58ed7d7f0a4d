// What an NBD URI of a disk says (the NBD project's doc/uri.md), as far as it is looked at here: libnbd takes all of
// it. Pure.
#pragma once

#include <optional>
#include <string>

namespace domus::block {

/// Whether a disk's target is an NBD URI, as `nbd://HOST/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`.
bool is_nbd(const std::string& target);

struct LocalServer {
    std::string socket; ///< absolute path
    std::string name;   ///< of the export
};

/// Of `nbd+unix:///EXPORT?socket=PATH` with no other parameters; nothing for any other target. One with TLS, or with
/// what is not known here, is connected to by libnbd itself.
std::optional<LocalServer> local_server(const std::string& target);

} // namespace domus::block
