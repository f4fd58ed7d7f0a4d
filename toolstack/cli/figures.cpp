// A device's figures for people. See figures.hpp.
#include "toolstack/cli/figures.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <initializer_list>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

namespace domus::cli {

namespace {

const proto::Figure* find(const proto::DeviceView& view, std::string_view name) {
    for (const auto& figure : view.figures())
        if (figure.name() == name)
            return &figure;
    return nullptr;
}

/// The name without its queue: "q0.reads" is "reads" like Linux's.
std::string_view plain(std::string_view name) {
    const auto dot = name.find('.');
    return name.starts_with('q') && dot != std::string_view::npos ? name.substr(dot + 1) : name;
}

/// Over all queues; nothing when no figure is called so.
std::optional<std::uint64_t> sum(const proto::DeviceView& view, std::initializer_list<std::string_view> names) {
    std::optional<std::uint64_t> out;
    for (const auto& figure : view.figures())
        for (const auto name : names)
            if (plain(figure.name()) == name)
                out = out.value_or(0) + figure.value();
    return out;
}

/// Requests taken and not yet answered: indices wrap at 32 bits.
std::uint64_t in_flight(const proto::DeviceView& view) {
    std::uint64_t out = 0;
    for (const auto& figure : view.figures()) {
        const std::string& name = figure.name();
        if (!name.ends_with("req_cons"))
            continue;
        const auto* answered = find(view, name.substr(0, name.size() - 8) + "rsp_prod");
        if (answered)
            out += std::uint32_t(figure.value() - answered->value());
    }
    return out;
}

double seconds_between(const proto::DeviceView& before, const proto::DeviceView& now) {
    return double(now.time_ns() - before.time_ns()) / 1e9;
}

/// Between two looks at the same server; a count that fell began anew.
std::optional<double> rate(std::optional<std::uint64_t> before, std::optional<std::uint64_t> now, double seconds) {
    if (!before || !now || *now < *before || seconds <= 0)
        return {};
    return double(*now - *before) / seconds;
}

std::string features_text(const proto::DeviceView& view) {
    std::map<std::string, std::pair<std::string, std::string>> both;
    for (const auto& feature : view.offered())
        both[feature.name()].first = feature.value();
    for (const auto& feature : view.wanted())
        both[feature.name()].second = feature.value();
    std::string out = fmt::format("\n{:<32} {:<20} {}\n", "features", "backend", "frontend");
    for (const auto& [name, values] : both)
        out += fmt::format("  {:<30} {:<20} {}\n", name, values.first.empty() ? "-" : values.first,
                           values.second.empty() ? "-" : values.second);
    return out;
}

/// "q0.tx_" of all rings, in the order of their queues.
std::vector<std::string> rings_of(const proto::DeviceView& view) {
    std::vector<std::string> out;
    for (const auto& figure : view.figures())
        if (figure.name().ends_with("req_cons"))
            out.push_back(figure.name().substr(0, figure.name().size() - 8));
    return out;
}

std::string rings_text(const proto::DeviceView& view) {
    const auto rings = rings_of(view);
    if (rings.empty())
        return "";
    std::string out = fmt::format("\n{:<10} {:>8} {:>10} {:>10} {:>10} {:>12} {:>12}\n", "ring", "entries", "req_cons",
                                  "rsp_prod", "in flight", "events", "notifies");
    for (const auto& ring : rings) {
        const auto value = [&](const char* name) {
            const auto* figure = find(view, ring + name);
            return figure ? figure->value() : 0;
        };
        out += fmt::format("  {:<8} {:>8} {:>10} {:>10} {:>10} {:>12} {:>12}\n", ring.substr(0, ring.size() - 1),
                           value("entries"), value("req_cons"), value("rsp_prod"),
                           std::uint32_t(value("req_cons") - value("rsp_prod")), value("events"), value("notifies"));
    }
    return out;
}

bool shown_with_its_ring(std::string_view name) {
    return std::ranges::any_of(
        std::initializer_list<std::string_view>{"entries", "req_cons", "rsp_prod", "events", "notifies"},
        [&](std::string_view end) { return name.ends_with(end) && plain(name) != name; });
}

std::string figures_text(const proto::DeviceView& now, const proto::DeviceView* before) {
    std::string out = "\n";
    for (const auto& figure : now.figures()) {
        if (shown_with_its_ring(figure.name()))
            continue;
        out +=
            fmt::format("  {:<24} {:>16}", figure.name() == "grants" ? "grants held" : figure.name(), figure.value());
        const auto* earlier = before ? find(*before, figure.name()) : nullptr;
        const auto speed = earlier && figure.counts()
                               ? rate(earlier->value(), figure.value(), seconds_between(*before, now))
                               : std::nullopt;
        out += speed ? fmt::format(" {:>14.1f}/s\n", *speed) : "\n";
    }
    return out;
}

std::string or_dash(std::optional<double> value, bool bytes = false) {
    if (!value)
        return "-";
    if (!bytes)
        return fmt::format("{:.0f}", *value);
    const char* units[] = {"", "K", "M", "G"};
    std::size_t unit = 0;
    for (; *value >= 9999.5 && unit + 1 < std::size(units); ++unit)
        *value /= 1024;
    return fmt::format("{:.0f}{}", *value, units[unit]);
}

proto::DeviceRates rates_of(const proto::DeviceView* before, const proto::DeviceView& now) {
    proto::DeviceRates out;
    out.set_domid(now.domid());
    out.set_guest(now.guest());
    out.set_device(now.device());
    out.set_kind(now.kind());
    out.set_backend_state(now.backend_state());
    out.set_server_gone(now.server_gone());
    const bool same = before && before->pid() == now.pid() && !now.server_gone();
    const double seconds = same ? seconds_between(*before, now) : 0;
    out.set_interval_s(seconds);
    const auto speed = [&](std::initializer_list<std::string_view> names) {
        return same ? rate(sum(*before, names), sum(now, names), seconds) : std::nullopt;
    };
    if (const auto in = speed({"reads", "rx_packets"}))
        out.set_in_per_s(*in);
    if (const auto sent = speed({"writes", "flushes", "discards", "tx_packets"}))
        out.set_out_per_s(*sent);
    if (const auto in = speed({"read_bytes", "rx_bytes"}))
        out.set_in_bytes_per_s(*in);
    if (const auto sent = speed({"written_bytes", "tx_bytes"}))
        out.set_out_bytes_per_s(*sent);
    if (const auto errors = sum(now, {"errors", "tx_errors", "rx_errors"}))
        out.set_errors(*errors);
    if (const auto dropped = sum(now, {"tx_dropped", "rx_dropped", "tx_spoofed"}))
        out.set_dropped(*dropped);
    if (!rings_of(now).empty())
        out.set_in_flight(in_flight(now));
    return out;
}

} // namespace

std::string ring_text(const proto::DeviceView& now, const proto::DeviceView* before) {
    std::string out = fmt::format("{} of {} (domain {}): {}, {}\n", now.device(), now.guest(), now.domid(), now.kind(),
                                  now.backend());
    out += fmt::format(
        "backend   {}, in domain {}{}\n", now.backend_state(), now.backend_domid(),
        now.pid() == 0 ? "" : fmt::format(", process {}{}", now.pid(), now.server_gone() ? " (has ended)" : ""));
    out += fmt::format("frontend  {}\n", now.frontend_state());
    if (!now.error().empty())
        out += fmt::format("error     {}\n", now.error());
    out += features_text(now);
    out += rings_text(now);
    if (now.figures_size() != 0)
        out += figures_text(now, before);
    if (!now.missing().empty())
        out += fmt::format("\nNot known: {}.\n", now.missing());
    return out;
}

proto::DeviceStats rates(const proto::DeviceViews& before, const proto::DeviceViews& now) {
    proto::DeviceStats out;
    for (const auto& view : now.devices()) {
        const auto same = [&](const proto::DeviceView& other) {
            return other.domid() == view.domid() && other.kind() == view.kind() && other.devid() == view.devid();
        };
        const auto found = std::find_if(before.devices().begin(), before.devices().end(), same);
        *out.add_devices() = rates_of(found == before.devices().end() ? nullptr : &*found, view);
    }
    return out;
}

std::string stats_text(const proto::DeviceStats& stats) {
    std::string out =
        fmt::format("{:<16} {:<8} {:<10} {:<12} {:>8} {:>9} {:>8} {:>9} {:>6} {:>7} {:>9}\n", "Guest", "Device",
                    "Server", "State", "in/s", "in B/s", "out/s", "out B/s", "errors", "dropped", "in flight");
    const auto known = [](bool has, std::uint64_t value) { return has ? std::to_string(value) : std::string("-"); };
    const auto speed = [](bool has, double value, bool bytes) {
        return or_dash(has ? std::optional(value) : std::nullopt, bytes);
    };
    for (const auto& d : stats.devices())
        out += fmt::format(
            "{:<16} {:<8} {:<10} {:<12} {:>8} {:>9} {:>8} {:>9} {:>6} {:>7} {:>9}\n", d.guest(), d.device(), d.kind(),
            d.server_gone() ? "no server" : d.backend_state(), speed(d.has_in_per_s(), d.in_per_s(), false),
            speed(d.has_in_bytes_per_s(), d.in_bytes_per_s(), true), speed(d.has_out_per_s(), d.out_per_s(), false),
            speed(d.has_out_bytes_per_s(), d.out_bytes_per_s(), true), known(d.has_errors(), d.errors()),
            known(d.has_dropped(), d.dropped()), known(d.has_in_flight(), d.in_flight()));
    return out;
}

} // namespace domus::cli
