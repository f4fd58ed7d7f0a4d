// Questions about guests, and the small verbs. Part of Engine; see engine.hpp.
#include <utility>

#include "toolstack/engine/engine.hpp"

#include <fmt/format.h>

namespace domus::engine {

namespace {

constexpr const char* no_name = "(null)";        // as xl shows it; no name to be found by
constexpr std::uint64_t least_memory_kib = 4096; // below this no kernel runs; surely a slip of the unit

} // namespace

asio::awaitable<std::vector<Listed>> Engine::list() {
    std::vector<Listed> out;
    const auto domains = s_.hypervisor.domains();
    for (const auto& info : domains) {
        const auto name = co_await s_.store.try_read(domain_path(info.domid) + "/name");
        out.push_back(Listed{info, name.value_or(info.domid == 0 ? "Domain-0" : no_name)});
    }
    co_return out;
}

asio::awaitable<std::uint16_t> Engine::resolve(std::string text) {
    if (const auto number = to_number(text)) {
        if (*number < 0x7ff0 && s_.hypervisor.domain_info(std::uint16_t(*number)))
            co_return std::uint16_t(*number);
        throw std::runtime_error(fmt::format("there is no domain {}; domus list shows which there are", text));
    }
    const auto domains = co_await list();
    for (const auto& domain : domains)
        if (domain.name == text && domain.name != no_name)
            co_return domain.info.domid;
    throw std::runtime_error(fmt::format("there is no guest called {}; domus list shows which there are", text));
}

asio::awaitable<std::vector<DeviceView>> Engine::devices(std::optional<std::uint16_t> domid, std::string device) {
    co_return co_await look_at_devices(s_.store, s_.host, domid, std::move(device));
}

asio::awaitable<void> Engine::pause(std::uint16_t domid) {
    require_guest(domid, "pause");
    const auto turn = co_await turns_.take(domid);
    s_.hypervisor.pause(domid);
}

asio::awaitable<void> Engine::unpause(std::uint16_t domid) {
    require_guest(domid, "unpause");
    const auto turn = co_await turns_.take(domid);
    s_.hypervisor.unpause(domid);
}

asio::awaitable<void> Engine::power(std::uint16_t domid, bool reboot) {
    require_guest(domid, reboot ? "reboot" : "shut down", "use poweroff or reboot there");
    const auto turn = co_await turns_.take(domid);
    const auto info = s_.hypervisor.domain_info(domid);
    if (!info || info->dying || info->shutdown)
        throw std::runtime_error(fmt::format("domain {} has ended already", domid));
    if (info->paused)
        throw std::runtime_error(
            fmt::format("domain {} is paused and would not hear it; domus unpause {} first", domid, domid));
    const std::string request = reboot ? "reboot" : "poweroff";
    co_await s_.store.write(domain_path(domid) + "/control/shutdown", request);
}

asio::awaitable<bool> Engine::wait_ended(std::uint16_t domid, std::chrono::milliseconds limit) {
    const auto ended = [&]() -> asio::awaitable<void> {
        auto watch = co_await s_.store.watch("@releaseDomain");
        for (;;) {
            co_await watch->next();
            const auto info = s_.hypervisor.domain_info(domid);
            if (!info || info->dying || info->shutdown)
                co_return;
        }
    };
    const bool in_time = co_await within(ended(), limit);
    // The lifecycle watch heard the same event; its work on this guest is part of what the caller waits for.
    if (in_time)
        co_await check_domains();
    co_return in_time;
}

asio::awaitable<void> Engine::set_memory(std::uint16_t domid, std::uint64_t kib) {
    const auto turn = co_await turns_.take(domid);
    const std::string memory = domain_path(domid) + "/memory";
    const auto info = s_.hypervisor.domain_info(domid);
    if (!info)
        throw std::runtime_error(fmt::format("there is no domain {} any more", domid));
    const auto limit_text = co_await s_.store.try_read(memory + "/static-max");
    const auto limit = to_number(limit_text.value_or(""));
    if (kib < least_memory_kib)
        throw std::runtime_error(
            fmt::format("{} KiB is too little for a guest; give the size in MiB, or with a unit: 512m, 2g", kib));
    if (limit && kib > *limit)
        throw std::runtime_error(fmt::format(
            "domain {} can have at most {} MiB; set maxmem= when it is created for more", domid, *limit / 1024));
    const std::uint64_t now_kib = info->pages * 4;
    if (kib > now_kib)
        check_memory(kib - now_kib, fmt::format("growing domain {}", domid));
    const std::string target = std::to_string(kib);
    s_.hypervisor.set_max_memory(domid, kib + 1024);
    co_await s_.store.write(memory + "/target", target);
}

} // namespace domus::engine
