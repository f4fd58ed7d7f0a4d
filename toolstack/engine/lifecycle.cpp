// What happens when guests end, and when domusd starts. Part of Engine; see engine.hpp.
#include <utility>

#include "toolstack/engine/engine.hpp"

#include "toolstack/engine/layout.hpp"
#include "toolstack/model/config.hpp"
#include "toolstack/model/uuid.hpp"

#include <ctime>
#include <fmt/chrono.h>
#include <fmt/format.h>

namespace domus::engine {

namespace {

// A guest that ends as soon as it starts would be restarted for ever.
constexpr std::size_t most_restarts = 10;
constexpr std::uint64_t restart_window_s = 60;

struct End {
    std::string why;
    model::Action action;
};

End end_of(const Record& record, const DomainInfo& info) {
    const auto& config = record.config;
    switch (client::ShutdownReason(info.shutdown_code)) {
    case client::ShutdownReason::poweroff:
        return {"powered off", config.on_poweroff};
    case client::ShutdownReason::reboot:
        return {"asked for a reboot", config.on_reboot};
    case client::ShutdownReason::crash:
        return {"crashed", config.on_crash};
    case client::ShutdownReason::watchdog:
        return {"was ended by its watchdog", config.on_watchdog};
    case client::ShutdownReason::suspend:
        return {"suspended itself, which nothing here can resume", model::Action::Destroy};
    case client::ShutdownReason::soft_reset:
        return {"asked for a soft reset, which is not supported", config.on_crash};
    }
    return {fmt::format("ended with the unknown reason {}", info.shutdown_code), config.on_crash};
}

} // namespace

asio::awaitable<void> Engine::start() {
    co_await write_dom0(s_.store);
    for (auto& record : s_.records.load())
        if (record.building)
            co_await undo_half_made(record);
    co_await check_domains();
}

asio::awaitable<void> Engine::run() {
    auto watch = co_await s_.store.watch("@releaseDomain");
    for (;;) {
        co_await watch->next();
        co_await check_domains();
    }
}

asio::awaitable<void> Engine::check_domains() {
    for (auto& record : s_.records.load()) {
        if (record.building || record.domid == 0)
            continue; // create() itself is at work on it
        try {
            const auto turn = co_await turns_.take(record.domid);
            co_await check_record(record);
        } catch (const std::exception& e) {
            spdlog::error("{}: {}", record.config.name, e.what());
        }
    }
}

asio::awaitable<void> Engine::check_record(Record record) {
    // It may have been destroyed or restarted while the turn was waited for.
    const auto now = record_of(record.domid);
    if (!now || now->config.uuid != record.config.uuid)
        co_return;
    record = *now;
    const auto info = s_.hypervisor.domain_info(record.domid);
    const bool ours = info && info->uuid == *record.config.uuid;
    if (!ours || info->dying) {
        spdlog::info("{} (domain {}) is gone, its nodes are removed", record.config.name, record.domid);
        if (ours) {
            co_await take_down(record.domid);
            co_return;
        }
        co_await remove_devices(record.domid);
        co_await remove_domain(s_.store, record.domid, model::to_string(*record.config.uuid));
        s_.records.remove(*record.config.uuid);
    } else if (info->shutdown && record.preserved.empty()) {
        co_await act_on_end(record, *info);
    }
}

asio::awaitable<void> Engine::act_on_end(Record record, DomainInfo info) {
    const End end = end_of(record, info);
    spdlog::info("{} (domain {}) {}: {}", record.config.name, record.domid, end.why, to_string(end.action));
    switch (end.action) {
    case model::Action::CoredumpDestroy:
        spdlog::warn("{}: core dumps are not supported, the guest is destroyed without one", record.config.name);
        [[fallthrough]];
    case model::Action::Destroy:
        co_await take_down(record.domid);
        break;
    case model::Action::CoredumpRestart:
        spdlog::warn("{}: core dumps are not supported, the guest is restarted without one", record.config.name);
        [[fallthrough]];
    case model::Action::Restart:
        co_await restart(record, false, end.why);
        break;
    case model::Action::RenameRestart:
        co_await restart(record, true, end.why);
        break;
    case model::Action::Preserve:
        co_await preserve(record, end.why);
        break;
    }
}

asio::awaitable<void> Engine::preserve(Record record, const std::string& why) {
    record.preserved = why;
    s_.records.save(record);
    co_return;
}

asio::awaitable<void> Engine::restart(Record record, bool rename, const std::string& why) {
    const std::uint64_t now = s_.host.now();
    std::erase_if(record.restarts, [&](std::uint64_t then) { return then + restart_window_s < now; });
    if (record.restarts.size() >= most_restarts) {
        spdlog::error("{} {} {} times within {} s; it is destroyed instead of restarted", record.config.name, why,
                      record.restarts.size(), restart_window_s);
        co_await take_down(record.domid);
        co_return;
    }
    record.restarts.push_back(now);
    model::Domain config = record.config;
    if (rename) {
        Record kept = record;
        kept.config.name = fmt::format("{}-{:%Y%m%dT%H%M%SZ}", config.name, fmt::gmtime(std::time_t(now)));
        kept.preserved = why;
        s_.records.save(kept);
        co_await remove_devices(record.domid); // the new guest gets the disks and addresses
        co_await s_.store.write(domain_path(record.domid) + "/name", kept.config.name);
        config.uuid.reset();
    } else {
        co_await take_down(record.domid);
    }
    const Created created = co_await create(std::move(config), false, {});
    auto fresh = record_of(created.domid);
    if (!fresh)
        co_return;
    fresh->restarts = record.restarts;
    s_.records.save(*fresh);
    spdlog::info("{} runs again as domain {}", created.name, created.domid);
}

asio::awaitable<void> Engine::undo_half_made(Record record) {
    spdlog::warn("{} was left half-made, it is taken back", record.config.name);
    const auto domains = s_.hypervisor.domains();
    for (const auto& info : domains) {
        if (info.uuid != *record.config.uuid || info.domid == 0)
            continue;
        try {
            co_await take_down(info.domid);
        } catch (const std::exception& e) {
            spdlog::error("taking back {} failed: {}", record.config.name, e.what());
        }
    }
    s_.records.remove(*record.config.uuid);
}

} // namespace domus::engine
