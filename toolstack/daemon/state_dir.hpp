// Records of guests as files: DIRECTORY/UUID.json, a DomainRecord in protobuf's JSON. Owner: domusd's main.
// No lock: domusd.lock keeps a second domusd out. Lies on a file system that a reboot empties (/run), as guests end
// with the machine.
#pragma once

#include "toolstack/engine/records.hpp"

#include <map>
#include <string>

namespace domus::daemon {

class StateDir : public engine::RecordStore {
public:
    /// Makes the directory where it is missing and reads what is in it. Throws std::runtime_error.
    explicit StateDir(std::string directory);

    void save(const engine::Record& record) override;
    void remove(const model::Uuid& uuid) override;
    std::vector<engine::Record> load() override;

private:
    std::string path_of(const model::Uuid& uuid) const;
    void read_all();

    std::string directory_;
    std::map<model::Uuid, engine::Record> records_; // what the files hold
};

} // namespace domus::daemon
