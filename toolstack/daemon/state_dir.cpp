// Records of guests as files. No lock.
#include "toolstack/daemon/state_dir.hpp"

#include "toolstack/engine/descriptor.hpp"
#include "toolstack/model/uuid.hpp"
#include "toolstack/proto/convert.hpp"
#include "toolstack/proto/json.hpp"

#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <spdlog/spdlog.h>
#include <stdexcept>

namespace domus::daemon {

namespace {

proto::DomainRecord to_proto(const engine::Record& record) {
    proto::DomainRecord out;
    *out.mutable_config() = proto::to_proto(record.config);
    out.set_domid(record.domid);
    out.set_building(record.building);
    for (const auto when : record.restarts)
        out.add_restarts(when);
    out.set_preserved(record.preserved);
    return out;
}

engine::Record to_record(const proto::DomainRecord& message) {
    engine::Record out;
    out.config = proto::to_model(message.config());
    if (!out.config.uuid)
        throw std::runtime_error("it has no uuid");
    if (message.domid() >= 0x7ff0) // DOMID_FIRST_RESERVED of xen.h
        throw std::runtime_error(fmt::format("{} is not a domain's number", message.domid()));
    out.domid = std::uint16_t(message.domid());
    out.building = message.building();
    out.restarts.assign(message.restarts().begin(), message.restarts().end());
    out.preserved = message.preserved();
    return out;
}

} // namespace

StateDir::StateDir(std::string directory) : directory_(std::move(directory)) {
    std::error_code failed;
    std::filesystem::create_directories(directory_, failed);
    if (failed)
        throw std::runtime_error(
            fmt::format("cannot make the state directory {}: {}; run domusd as root or give another by "
                        "--state-dir",
                        directory_, failed.message()));
    read_all();
}

void StateDir::read_all() {
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
        if (entry.path().extension() != ".json")
            continue;
        try {
            std::ifstream in(entry.path());
            in.exceptions(std::ifstream::badbit);
            const std::string text{std::istreambuf_iterator<char>(in), {}};
            proto::DomainRecord message;
            proto::from_json(text, message);
            engine::Record record = to_record(message);
            const model::Uuid uuid = *record.config.uuid;
            records_.insert_or_assign(uuid, std::move(record));
        } catch (const std::exception& e) {
            spdlog::error("{} is not used: {}; its guest runs on, but no on_... action will be taken",
                          entry.path().string(), e.what());
        }
    }
}

std::string StateDir::path_of(const model::Uuid& uuid) const {
    return fmt::format("{}/{}.json", directory_, model::to_string(uuid));
}

void StateDir::save(const engine::Record& record) {
    const model::Uuid uuid = record.config.uuid.value();
    const std::string path = path_of(uuid), fresh = path + ".new", text = proto::to_json(to_proto(record));
    const engine::Descriptor file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file || ::write(file.get(), text.data(), text.size()) != ssize_t(text.size()) ||
        ::rename(fresh.c_str(), path.c_str()) != 0)
        throw std::runtime_error(
            fmt::format("cannot write {}: {}; is {} full?", path, engine::errno_text(), directory_));
    records_.insert_or_assign(uuid, record);
}

void StateDir::remove(const model::Uuid& uuid) {
    ::unlink(path_of(uuid).c_str());
    records_.erase(uuid);
}

std::vector<engine::Record> StateDir::load() {
    std::vector<engine::Record> out;
    for (const auto& [uuid, record] : records_)
        out.push_back(record);
    return out;
}

} // namespace domus::daemon
