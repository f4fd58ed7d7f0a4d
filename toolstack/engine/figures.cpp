// What can be seen of guests' devices from outside. See figures.hpp.
#include <utility>

#include "toolstack/engine/figures.hpp"

#include "toolstack/model/vdev.hpp"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <set>
#include <stdexcept>

namespace domus::engine {

namespace {

constexpr std::size_t longest_value = 80; // of a guest's node; no feature needs more

std::string device_name(const std::string& kind, std::uint32_t devid) {
    return kind.ends_with("vif") ? fmt::format("vif{}", devid) : model::vdev_name(devid);
}

bool is_feature(const std::string& name) {
    static const std::set<std::string> others = {"multi-queue-num-queues",
                                                 "ring-page-order",
                                                 "num-ring-pages",
                                                 "protocol",
                                                 "request-rx-copy",
                                                 "sectors",
                                                 "sector-size",
                                                 "mac",
                                                 "bridge",
                                                 "switch",
                                                 "vifname",
                                                 "rate",
                                                 "mtu",
                                                 "params",
                                                 "mode",
                                                 "physical-sector-size"};
    return name.starts_with("feature-") || name.starts_with("max-") || name.starts_with("multi-queue-max-") ||
           others.contains(name);
}

asio::awaitable<std::vector<Feature>> features_in(xenstore::Client& store, std::string path) {
    std::vector<Feature> out;
    auto names = co_await children_of(store, path);
    std::sort(names.begin(), names.end());
    for (const auto& name : names) {
        if (!is_feature(name))
            continue;
        const auto value = co_await store.try_read(path + "/" + name);
        if (value)
            out.emplace_back(name, value->substr(0, longest_value));
    }
    co_return out;
}

Figures figures_of(Host& host, const std::string& kind, DeviceId id) {
    if (id.backend_domid == 0)
        return host.device_figures(kind, id.domid, id.devid);
    Figures out;
    out.missing = fmt::format("served in domain {}, whose figures are its own: look into {} there", id.backend_domid,
                              "/run/domus/stats");
    return out;
}

asio::awaitable<DeviceView> look_at(xenstore::Client& store, Host& host, std::string kind, DeviceId id) {
    DeviceView view;
    view.id = id;
    view.kind = co_await backend_kind(store, std::move(kind), id);
    view.device = device_name(view.kind, id.devid);
    view.backend = backend_path(view.kind, id);
    const std::string front = frontend_path(view.kind, id.domid, id.devid);
    view.backend_state = co_await read_state(store, view.backend + "/state");
    view.frontend_state = co_await read_state(store, front + "/state");
    const auto error = co_await store.try_read(error_path(view.kind, id));
    view.error = error.value_or("");
    view.offered = co_await features_in(store, view.backend);
    view.wanted = co_await features_in(store, front);
    view.backend_domid = id.backend_domid;
    view.figures = figures_of(host, view.kind, id);
    co_return view;
}

bool is_called(const DeviceView& view, const std::string& device) {
    const auto mac = std::find_if(view.offered.begin(), view.offered.end(),
                                  [](const Feature& feature) { return feature.first == "mac"; });
    return view.device == device || std::to_string(view.id.devid) == device ||
           (mac != view.offered.end() && mac->second == device);
}

} // namespace

asio::awaitable<std::vector<DeviceView>> look_at_devices(xenstore::Client& store, Host& host,
                                                         std::optional<std::uint16_t> domid, std::string device) {
    std::transform(device.begin(), device.end(), device.begin(), [](unsigned char c) { return char(std::tolower(c)); });
    std::vector<DeviceView> out;
    std::string there;
    for (const char* kind : {"vbd", "vif"}) {
        std::vector<DeviceId> ids;
        if (domid)
            ids = co_await devices_of(store, kind, *domid);
        else
            ids = co_await all_devices(store, kind);
        for (const auto& id : ids) {
            auto view = co_await look_at(store, host, kind, id);
            there += (there.empty() ? "" : ", ") + view.device;
            if (device.empty() || is_called(view, device))
                out.push_back(std::move(view));
        }
    }
    if (!device.empty() && out.empty())
        throw std::runtime_error(fmt::format("domain {} has no device {}; it has {}", domid.value_or(0), device,
                                             there.empty() ? "none" : there));
    std::stable_sort(out.begin(), out.end(),
                     [](const DeviceView& a, const DeviceView& b) { return a.id.domid < b.id.domid; });
    co_return out;
}

} // namespace domus::engine
