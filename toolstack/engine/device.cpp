// What disks and network cards have in common. Owner: the engine. No lock.
#include <utility>

#include "toolstack/engine/device.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <stdexcept>

namespace domus::engine {

namespace {

asio::awaitable<std::vector<std::uint32_t>> numbered_children(xenstore::Client& store, std::string path) {
    std::vector<std::uint32_t> numbers;
    const auto names = co_await children_of(store, path);
    for (const auto& name : names)
        if (const auto number = to_number(name))
            numbers.push_back(*number);
    co_return numbers;
}

struct BackendHome {
    std::uint16_t domid;
    std::string path;
};

/// Where backends of `kind` have their directories. Those of driver domains are ours, and below directories that dom0
/// made and owns: a guest cannot make up that it serves somebody.
asio::awaitable<std::vector<BackendHome>> backend_homes(xenstore::Client& store, std::string kind) {
    std::vector<BackendHome> out{{0, "/local/domain/0/backend/" + kind}, {0, "/local/domain/0/backend/domus-" + kind}};
    std::string domains = "/local/domain";
    const auto domids = co_await numbered_children(store, std::move(domains));
    for (const auto domid : domids) {
        std::string path = fmt::format("/local/domain/{}/backend/domus-{}", domid, kind);
        if (domid == 0)
            continue;
        const auto there = co_await store.try_read(path);
        if (there)
            out.push_back({std::uint16_t(domid), std::move(path)});
    }
    co_return out;
}

std::string driver_of(const std::string& kind, DeviceId id) {
    return fmt::format("{}'s driver for {} devices",
                       id.backend_domid == 0 ? "dom0" : fmt::format("domain {}", id.backend_domid), kind);
}

/// Where a backend driver that answers says more.
std::string its_log(const std::string& kind, DeviceId id) {
    const char* program = kind == "domus-vbd" ? "domus-blockd" : "domus-netd";
    if (id.backend_domid != 0)
        return fmt::format("more stands in {}'s log there (domus console {})", program, id.backend_domid);
    if (kind.starts_with("domus-"))
        return fmt::format("more stands in /var/log/domus/{}.log", program);
    return "more stands in dom0's kernel log (dmesg)";
}

/// What to do when a backend driver does not answer.
std::string remedy(const std::string& kind, DeviceId id) {
    if (id.backend_domid != 0)
        return fmt::format("is {} running there? (domus console {})",
                           kind == "domus-vbd" ? "domus-blockd" : "domus-netd", id.backend_domid);
    if (kind == "domus-vbd")
        return "is domus-blockd running? Its log is /var/log/domus/domus-blockd.log";
    if (kind == "domus-vif")
        return "is domus-netd running? Its log is /var/log/domus/domus-netd.log";
    return fmt::format("load it (modprobe {}) and look into dom0's kernel log (dmesg)",
                       kind == "vbd" ? "xen-blkback" : "xen-netback");
}

/// Backends write the error's number before its text, as Linux's do.
std::string without_number(const std::string& error) {
    const auto end = error.find_first_not_of("0123456789");
    return end != std::string::npos && end != 0 && error[end] == ' ' ? error.substr(end + 1) : error;
}

} // namespace

std::string backend_path(std::string_view kind, DeviceId id) {
    return backend_path(kind, id.domid, id.devid, id.backend_domid);
}

std::string error_path(std::string_view kind, DeviceId id) {
    return fmt::format("/local/domain/{}/error/backend/{}/{}/{}/error", id.backend_domid, kind, id.domid, id.devid);
}

asio::awaitable<std::vector<DeviceId>> devices_of(xenstore::Client& store, std::string kind, std::uint16_t domid) {
    std::vector<DeviceId> out;
    const auto homes = co_await backend_homes(store, kind);
    for (const auto& home : homes) {
        std::string path = fmt::format("{}/{}", home.path, domid);
        const auto devids = co_await numbered_children(store, std::move(path));
        for (const auto devid : devids)
            out.push_back(DeviceId{domid, devid, home.domid});
    }
    std::stable_sort(out.begin(), out.end(), [](const DeviceId& a, const DeviceId& b) { return a.devid < b.devid; });
    co_return out;
}

asio::awaitable<std::vector<DeviceId>> all_devices(xenstore::Client& store, std::string kind) {
    std::vector<DeviceId> out;
    std::set<std::uint32_t> domids;
    const auto homes = co_await backend_homes(store, kind);
    for (const auto& home : homes) {
        const auto some = co_await numbered_children(store, home.path);
        domids.insert(some.begin(), some.end());
    }
    for (const auto domid : domids) {
        const auto some = co_await devices_of(store, kind, std::uint16_t(domid));
        out.insert(out.end(), some.begin(), some.end());
    }
    co_return out;
}

asio::awaitable<std::vector<DeviceId>> served_by(xenstore::Client& store, std::string kind,
                                                 std::uint16_t backend_domid) {
    const auto all = co_await all_devices(store, std::move(kind));
    std::vector<DeviceId> out;
    for (const auto& id : all)
        if (id.backend_domid == backend_domid && id.domid != backend_domid)
            out.push_back(id);
    co_return out;
}

asio::awaitable<std::string> backend_kind(xenstore::Client& store, std::string kind, DeviceId id) {
    const auto ours = co_await store.try_read(backend_path("domus-" + kind, id) + "/frontend");
    co_return ours ? "domus-" + kind : kind;
}

asio::awaitable<void> wait_backend(xenstore::Client& store, std::string kind, DeviceId id,
                                   std::chrono::milliseconds limit) {
    const std::string path = backend_path(kind, id);
    const auto taken = [](XenbusState state) {
        return state != XenbusState::Initialising && state != XenbusState::Absent;
    };
    const bool answered = co_await wait_state(store, path + "/state", taken, limit);
    // Kept out of a condition: g++ 12 mistranslates a co_await behind && there.
    const XenbusState state = co_await read_state(store, path + "/state");
    // Ours needs nothing more from domusd, so that a quick guest may be connected by now.
    if (answered && (state == XenbusState::InitWait || state == XenbusState::Connected))
        co_return;
    const auto error = co_await store.try_read(error_path(kind, id));
    const std::string why = error ? ": " + without_number(*error) : "", driver = driver_of(kind, id);
    if (answered)
        throw std::runtime_error(fmt::format("{} refuses {}{}; {}", driver, path, why, its_log(kind, id)));
    throw std::runtime_error(
        fmt::format("{} did not take {} within {} s{}; {}", driver, path, limit.count() / 1000, why, remedy(kind, id)));
}

asio::awaitable<void> refuse_open(xenstore::Client& store, std::string kind, DeviceId id, std::string device) {
    const bool disk = kind.ends_with("vbd");
    const std::string what = fmt::format("{} {}", disk ? "disk" : "network card", device);
    const std::string lost = disk ? "data not yet written is" : "packets under way are";
    const std::string back = backend_path(kind, id);
    const XenbusState frontend = co_await read_state(store, frontend_path(kind, id.domid, id.devid) + "/state");
    if (frontend == XenbusState::Closed)
        throw std::runtime_error(fmt::format("domain {} has let go of {}, but {} does not close {}; {}; --force takes "
                                             "it away without waiting ({} lost)",
                                             id.domid, what, driver_of(kind, id), back, remedy(kind, id), lost));
    throw std::runtime_error(
        fmt::format("domain {} does not let go of {}; {}, or pull it out with --force ({} lost)", id.domid, what,
                    disk ? "unmount it in the guest, then detach again" : "take it down in the guest", lost));
}

asio::awaitable<bool> close_device(xenstore::Client& store, std::string kind, DeviceId id, Closing how,
                                   Patience patience) {
    const std::string back = backend_path(kind, id), front = frontend_path(kind, id.domid, id.devid);
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
    const std::string home = domain_path(id.backend_domid);
    std::string kept = home;
    if (id.backend_domid == 0) // dom0's directory of backends is there always, others' as long as they serve somebody
        kept += "/backend";
    co_await remove_up(store, backend_path(kind, id), std::move(kept));
    co_await remove_up(store, frontend_path(kind, id.domid, id.devid), domain_path(id.domid) + "/device");
    // Linux reports a device's troubles here and never takes them back.
    std::string error = error_path(kind, id);
    error.resize(error.rfind('/'));
    co_await remove_up(store, std::move(error), home);
}

asio::awaitable<std::string> guest_text(xenstore::Client& store, std::uint16_t domid) {
    const auto name = co_await store.try_read(domain_path(domid) + "/name");
    co_return fmt::format("{} (domain {})", name.value_or("a guest without a name"), domid);
}

} // namespace domus::engine
