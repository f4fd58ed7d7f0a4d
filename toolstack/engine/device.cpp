// What disks and network cards have in common. Owner: the engine. No lock.
#include <utility>

#include "toolstack/engine/device.hpp"

#include <fmt/format.h>
#include <set>
#include <stdexcept>

namespace domus::engine {

namespace {

asio::awaitable<std::vector<std::uint32_t>> numbered_children(xenstore::Client& store, std::string path) {
    std::vector<std::uint32_t> numbers;
    std::vector<std::string> names;
    try {
        names = co_await store.directory(path);
    } catch (const boost::system::system_error& e) {
        if (e.code().value() != ENOENT)
            throw;
    }
    for (const auto& name : names)
        if (const auto number = to_number(name))
            numbers.push_back(*number);
    co_return numbers;
}

/// What to do when a backend driver does not answer.
std::string remedy(const std::string& kind) {
    if (kind == "domus-vbd")
        return "is domus-blockd running? Its log is /var/log/domus/domus-blockd.log";
    if (kind == "domus-vif")
        return "is domus-netd running? Its log is /var/log/domus/domus-netd.log";
    return fmt::format("load it (modprobe {}) and look into dom0's kernel log (dmesg)",
                       kind == "vbd" ? "xen-blkback" : "xen-netback");
}

} // namespace

asio::awaitable<std::vector<DeviceId>> devices_of(xenstore::Client& store, std::string kind, std::uint16_t domid) {
    std::vector<DeviceId> out;
    for (const char* whose : {"", "domus-"}) {
        std::string path = fmt::format("/local/domain/0/backend/{}{}/{}", whose, kind, domid);
        const auto devids = co_await numbered_children(store, std::move(path));
        for (const auto devid : devids)
            out.push_back(DeviceId{domid, devid});
    }
    co_return out;
}

asio::awaitable<std::vector<DeviceId>> all_devices(xenstore::Client& store, std::string kind) {
    std::vector<DeviceId> out;
    std::set<std::uint32_t> domids;
    for (const char* whose : {"", "domus-"}) {
        std::string path = fmt::format("/local/domain/0/backend/{}{}", whose, kind);
        const auto some = co_await numbered_children(store, std::move(path));
        domids.insert(some.begin(), some.end());
    }
    for (const auto domid : domids) {
        const auto some = co_await devices_of(store, kind, std::uint16_t(domid));
        out.insert(out.end(), some.begin(), some.end());
    }
    co_return out;
}

asio::awaitable<std::string> backend_kind(xenstore::Client& store, std::string kind, DeviceId id) {
    const auto ours = co_await store.try_read(backend_path("domus-" + kind, id.domid, id.devid) + "/frontend");
    co_return ours ? "domus-" + kind : kind;
}

asio::awaitable<void> wait_backend(xenstore::Client& store, std::string kind, DeviceId id,
                                   std::chrono::milliseconds limit) {
    const std::string path = backend_path(kind, id.domid, id.devid);
    const auto taken = [](XenbusState state) {
        return state != XenbusState::Initialising && state != XenbusState::Absent;
    };
    const bool answered = co_await wait_state(store, path + "/state", taken, limit);
    // Kept out of a condition: g++ 12 mistranslates a co_await behind && there.
    const XenbusState state = co_await read_state(store, path + "/state");
    // Ours needs nothing more from domusd, so that a quick guest may be connected by now.
    if (answered && (state == XenbusState::InitWait || state == XenbusState::Connected))
        co_return;
    const auto error =
        co_await store.try_read(fmt::format("/local/domain/0/error/backend/{}/{}/{}/error", kind, id.domid, id.devid));
    throw std::runtime_error(fmt::format("dom0's driver for {} devices did not take {} within {} s{}; {}", kind, path,
                                         limit.count() / 1000, error ? ": " + *error : "", remedy(kind)));
}

asio::awaitable<bool> close_device(xenstore::Client& store, std::string kind, DeviceId id, Closing how,
                                   Patience patience) {
    const std::string back = backend_path(kind, id.domid, id.devid), front = frontend_path(kind, id.domid, id.devid);
    const XenbusState before = co_await read_state(store, back + "/state");
    if (before == XenbusState::Absent)
        co_return true;
    const XenbusState frontend = co_await read_state(store, front + "/state");
    // A frontend that never woke up will not answer; its part is done for it.
    const bool asleep =
        frontend == XenbusState::Absent || frontend == XenbusState::Initialising || frontend == XenbusState::Closed;
    const bool for_guest = how == Closing::ByForce || asleep;
    const std::string closing = state_text(XenbusState::Closing), closed = state_text(XenbusState::Closed);
    co_await store.transaction([&](Tx tx) -> asio::awaitable<void> {
        co_await store.write(back + "/online", "0", tx);
        if (before != XenbusState::Closed)
            co_await store.write(back + "/state", closing, tx);
    });
    if (for_guest)
        co_await store.write(front + "/state", closed);
    const auto done = [](XenbusState state) { return state == XenbusState::Closed || state == XenbusState::Absent; };
    // A backend still in Initialising has no driver that could close it.
    if (before == XenbusState::Initialising)
        co_return true;
    co_return co_await wait_state(store, back + "/state", done, for_guest ? patience.force : patience.guest);
}

asio::awaitable<void> remove_device(xenstore::Client& store, std::string kind, DeviceId id) {
    co_await remove_up(store, backend_path(kind, id.domid, id.devid), "/local/domain/0/backend");
    co_await remove_up(store, frontend_path(kind, id.domid, id.devid), domain_path(id.domid) + "/device");
    // Linux reports a device's troubles here and never takes them back.
    co_await remove_up(store, fmt::format("/local/domain/0/error/backend/{}/{}/{}", kind, id.domid, id.devid),
                       "/local/domain/0");
}

asio::awaitable<std::string> guest_text(xenstore::Client& store, std::uint16_t domid) {
    const auto name = co_await store.try_read(domain_path(domid) + "/name");
    co_return fmt::format("{} (domain {})", name.value_or("a guest without a name"), domid);
}

} // namespace domus::engine
