// Who is at the other end of the store's socket, and what he may change: root all that domain 0 may; a backend's
// daemon, which runs as a user of its own, its devices' state; anybody else is turned away. Reading is free for both.
// Values and pure functions. Called by Daemon and SocketSession for each connection and request.
#pragma once

#include <map>
#include <optional>
#include <string>

#include <sys/types.h>

#include "xenstore-lite/wire/codec.hpp"

namespace domus::xenstore::server {

/// User names, and the type of devices (below /local/domain/0/backend) each serves; empty: it reads only.
using BackendUsers = std::map<std::string, std::string>;

/// Those of our own daemons.
BackendUsers default_backend_users();

struct Peer {
    bool everything = true;
    std::string user;         ///< for the log
    std::string backend_type; ///< empty: nothing may be written

    /// Whether the request is one of his: a question, or a change of what a backend says of its devices. What the
    /// toolstack says of them (a disk's medium, a card's bridge) is not among it, and whom a backend believes stays so.
    bool may(const wire::Message& request) const;
};

/// Nobody for users who have no business here. Root, and who runs the daemon, may do everything.
std::optional<Peer> peer_of(uid_t user, const BackendUsers& backends);

} // namespace domus::xenstore::server
