// See discovery.hpp.
#include "backend-drivers/console/discovery.hpp"

#include "backend-drivers/common/first_of.hpp"

#include <set>
#include <stdexcept>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <xen/grant_table.h>

namespace domus::console {

namespace asio = boost::asio;

Discovery::Discovery(asio::any_io_executor executor, LogSettings logs)
    : executor_(executor), logs_(std::move(logs)), changed_(executor) {
    access_.events = std::make_shared<client::EventChannels>(executor);
    try {
        access_.grants = client::open_grants();
    } catch (const client::Error& error) {
        spdlog::warn("{}; consoles are mapped by frame number instead", error.what());
    }
}

asio::awaitable<void> Discovery::run() {
    auto introduced = co_await store_->watch("@introduceDomain");
    auto released = co_await store_->watch("@releaseDomain");
    co_await backend::first_of(follow(std::move(introduced), false), follow(std::move(released), true), look_again());
}

asio::awaitable<void> Discovery::follow(std::shared_ptr<xenstore::Watch> watch, bool released) {
    using namespace std::chrono_literals;
    for (;;) {
        co_await watch->next();
        if (released) {
            look_until_ = std::chrono::steady_clock::now() + 10s;
        }
        rescan();
        changed_.notify();
    }
}

asio::awaitable<void> Discovery::look_again() {
    using namespace std::chrono_literals;
    asio::steady_timer pause(executor_);
    for (;;) {
        if (!ending_ && std::chrono::steady_clock::now() > look_until_) {
            co_await changed_.wait();
            continue;
        }
        pause.expires_after(500ms);
        co_await pause.async_wait(asio::use_awaitable);
        rescan();
    }
}

void Discovery::rescan() {
    std::set<std::uint16_t> alive;
    ending_ = false;
    for (const client::DomainInfo& info : hypervisor_.domains(1)) {
        if (!info.dying) {
            alive.insert(info.domid);
            ending_ = ending_ || info.shutdown;
            begin(info.domid);
        }
    }
    for (auto entry = guests_.begin(); entry != guests_.end();) {
        if (alive.contains(entry->first)) {
            ++entry;
            continue;
        }
        entry->second->close(); // gives back the ring's page, which keeps a dead domain from going away
        entry = guests_.erase(entry);
    }
}

std::shared_ptr<Guest> Discovery::find(std::uint16_t domid) {
    if (domid == 0) {
        throw std::runtime_error("dom0's console is the machine's own, not one of the guests'");
    }
    const auto info = hypervisor_.domain_info(domid);
    if (!info || info->dying) {
        throw std::runtime_error(fmt::format("there is no domain {}: see `domus list`", domid));
    }
    return begin(domid);
}

std::shared_ptr<Guest> Discovery::begin(std::uint16_t domid) {
    auto& guest = guests_[domid];
    if (!guest) {
        guest = std::make_shared<Guest>(executor_, domid);
        asio::co_spawn(executor_, serve(guest), [guest](std::exception_ptr failure) {
            try {
                if (failure) {
                    std::rethrow_exception(failure);
                }
            } catch (const std::exception& error) {
                // The guest stays in the table, so that it is not tried again at every event; it ends with its domain.
                spdlog::error("domain {} ({}): console not served: {}", guest->domid(), guest->name(), error.what());
            }
        });
    }
    return guest;
}

asio::awaitable<void> Discovery::serve(std::shared_ptr<Guest> guest) {
    const std::string home = fmt::format("/local/domain/{}", guest->domid());
    const auto watch = co_await store_->watch(home + "/console");
    std::optional<Ends> ends;
    while (!ends && !guest->closed()) { // the toolstack may still be writing; the first event comes at once
        using namespace asio::experimental::awaitable_operators;
        co_await (watch->next() || guest->closing().wait());
        ends = co_await read_ends(home + "/console");
    }
    if (guest->closed()) {
        co_return;
    }
    guest->set_name((co_await store_->try_read(home + "/name")).value_or(fmt::format("domain-{}", guest->domid())));
    GuestLog log(logs_.folder + "/" + log_file_name(guest->name(), guest->domid()), logs_.limit);
    auto page = map(guest->domid(), ends->ring_ref);
    spdlog::info("domain {} ({}): console served", guest->domid(), guest->name());
    co_await guest->serve(std::move(page), access_.events, ends->port, std::move(log));
    spdlog::info("domain {} ({}): console closed", guest->domid(), guest->name());
}

asio::awaitable<std::optional<Discovery::Ends>> Discovery::read_ends(std::string folder) {
    const auto type = co_await store_->try_read(folder + "/type");
    if (type && *type != "xenconsoled" && *type != "domus-consoled") {
        co_return std::nullopt; // another program serves it
    }
    const auto ring = co_await store_->try_read(folder + "/ring-ref");
    const auto port = co_await store_->try_read(folder + "/port");
    if (!ring || !port) {
        co_return std::nullopt;
    }
    const auto ring_number = backend::to_number(*ring);
    const auto port_number = backend::to_number(*port);
    if (!ring_number || !port_number || *port_number > 0xffffffff) {
        throw std::runtime_error(fmt::format("{}/ring-ref or port is not a number", folder));
    }
    co_return Ends{*ring_number, static_cast<std::uint32_t>(*port_number)};
}

std::shared_ptr<xencons_interface> Discovery::map(std::uint16_t domid, std::uint64_t ring_ref) {
    if (access_.grants) {
        try {
            const std::uint32_t reference[] = {GNTTAB_RESERVED_CONSOLE};
            auto held = std::make_shared<client::GrantMap>(access_.grants, domid, reference);
            return {held, held->as<xencons_interface>()};
        } catch (const client::Error& error) {
            spdlog::debug("domain {}: {}; mapping its frame", domid, error.what());
        }
    }
    const std::uint64_t frame[] = {ring_ref};
    auto held = std::make_shared<client::ForeignMap>(hypervisor_.raw(), domid, frame);
    return {held, held->as<xencons_interface>()};
}

} // namespace domus::console
