// What the journal keeps: one record per change of state, and their bytes. Pure values and functions.
// Written by Store and the ring sessions, read back by both after a restart, encoded by the journal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenstore-lite/wire/permission.hpp"

namespace domus::xenstore::tree {

/// One record. The fields mean what the kind says; the others are empty.
struct Record {
    enum class Kind : std::uint8_t {
        put = 1,    ///< path, text = value, permissions. A path starting with '@' is a special watch's list
        remove,     ///< path, with all below
        introduce,  ///< id = domain, a = frame of the ring, b = port
        forget,     ///< id = domain: released or dead; its watches and transactions are gone as well
        target,     ///< id = domain, a = the domain it acts for
        shut_down,  ///< id = domain, a = 1: its shutdown has been told, 0: forget that (RESUME)
        referenced, ///< id = domain that some permission list names
        watch,      ///< id = connection, path, text = token, a = depth + 1 or 0, b = 1 if relative
        unwatch,    ///< id, path, text = token
        watch_lost, ///< id, path, text = token, a = 1: an event is owed, 0: it was delivered
        reset,      ///< id: all watches and transactions of the connection are gone
        tx_start,   ///< id, a = number
        tx_end,     ///< id, a = number
        ring,       ///< id, a = requests consumed up to, b = replies produced up to (stream positions)
        input,      ///< id, a = requests consumed up to, text = bytes of the request not complete yet
        output,     ///< id, text = bytes appended to the reply stream
        last = output,
    };
    Kind kind;
    std::uint32_t id = 0;
    std::uint64_t a = 0;
    std::uint64_t b = 0;
    std::string path;
    std::string text;
    std::vector<Permission> permissions;

    bool operator==(const Record&) const = default;
};

/// Appends the record's bytes.
void encode(const Record& record, std::string& bytes);

/// Takes one record off the front of `bytes`; nothing if they are not a record.
std::optional<Record> decode(std::string_view& bytes);

} // namespace domus::xenstore::tree
