// Who watches what, and who is to hear of a change. Decides; delivering is the Store's business.
// Owner: Store. Lock: none. No I/O.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "xenstore-lite/tree/access.hpp"
#include "xenstore-lite/tree/editor.hpp"

namespace domus::xenstore::tree {

/// Number of a connection: a domain's ring has the domain's number, sockets count from first_socket.
using ConnectionId = std::uint32_t;
inline constexpr ConnectionId first_socket = 0x10000;

struct Watched {
    ConnectionId connection;
    std::string path; ///< absolute, or special ("@releaseDomain")
    std::string token;
    std::optional<unsigned> depth; ///< levels below `path` that count; all if not given
    bool relative = false;         ///< the client gave a relative path and gets relative paths back
    bool lost = false;             ///< an event was dropped because the client does not read; one is owed

    /// An event's path as the client is to see it. `home` is the client's /local/domain/<domid>.
    std::string as_seen(const std::string& event_path, const std::string& home) const;
};

class Watches {
public:
    /// EEXIST if the connection has this path and token already.
    Outcome<Watched*> add(Watched watch);
    /// False if there is none.
    bool remove(ConnectionId connection, const std::string& path, const std::string& token);
    void remove_all(ConnectionId connection);
    std::size_t count(ConnectionId connection) const;
    Watched* find(ConnectionId connection, const std::string& path, const std::string& token);

    using Fire = std::function<void(Watched& watch, const std::string& event_path)>;
    using CallerOf = std::function<const Caller&(ConnectionId)>;

    /// Calls `fire` for every watch the change concerns whose owner may read the node as it was or as it is.
    void match(const Change& change, const CallerOf& caller_of, const Fire& fire);

    /// The same for "@introduceDomain" and "@releaseDomain", whose own permission list decides.
    void match_special(const std::string& name, std::uint16_t domid, const std::vector<Permission>& permissions,
                       const CallerOf& caller_of, const Fire& fire);

    /// All watches of one connection.
    void for_each(ConnectionId connection, const std::function<void(Watched&)>& visit);
    void for_each(const std::function<void(const Watched&)>& visit) const;

private:
    void match_at(const std::string& watched_path, const Change& change, const CallerOf& caller_of, const Fire& fire);
    void match_removed(const Change& change, const CallerOf& caller_of, const Fire& fire);

    std::map<std::string, std::list<Watched>, std::less<>> by_path_;
    std::map<ConnectionId, std::size_t> counts_;
};

} // namespace domus::xenstore::tree
