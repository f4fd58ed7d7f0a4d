// What domusd must know of a guest and cannot ask hypervisor or xenstore: its configuration, for restarts.
// Owner: the engine. No lock. The real store (toolstack/daemon/state_dir.hpp) keeps one file per guest.
#pragma once

#include "toolstack/model/domain.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace domus::engine {

struct Record {
    model::Domain config;                // with uuid and MAC addresses filled in
    std::uint16_t domid = 0;             // 0: not created yet
    bool building = false;               // such a guest is undone when domusd finds it at its start
    std::vector<std::uint64_t> restarts; // seconds since the epoch
    std::string preserved;               // why an ended guest is kept; empty: it is not
};

class RecordStore {
public:
    virtual ~RecordStore() = default;
    /// Writes so that a crash leaves the old or the new. Throws std::runtime_error.
    virtual void save(const Record& record) = 0;
    virtual void remove(const model::Uuid& uuid) = 0;
    /// What cannot be read is left out, with a line in the log.
    virtual std::vector<Record> load() = 0;
};

} // namespace domus::engine
