// See discovery.hpp.
#include "backend-drivers/console/discovery.hpp"

#include "backend-drivers/common/first_of.hpp"

#include <stdexcept>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/system/system_error.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <xen/grant_table.h>

namespace domus::console {

namespace asio = boost::asio;

namespace {

std::string home_of(std::uint16_t domid) {
    return fmt::format("/local/domain/{}", domid);
}

} // namespace

asio::awaitable<void> Discovery::run() {
    // The second is for what removes a domain's nodes only after its end; both tell at once that they are there.
    auto introduced = co_await store_->watch("@introduceDomain");
    auto released = co_await store_->watch("@releaseDomain");
    co_await backend::first_of(follow(std::move(introduced)), follow(std::move(released)));
}

asio::awaitable<void> Discovery::follow(std::shared_ptr<xenstore::Watch> watch) {
    for (;;) {
        co_await watch->next();
        co_await rescan();
    }
}

/// Begins what is new. What is gone ends by the watch on its own nodes.
asio::awaitable<void> Discovery::rescan() {
    std::vector<std::string> names;
    try {
        names = co_await store_->directory("/local/domain");
    } catch (const boost::system::system_error& error) {
        if (error.code() != boost::system::errc::no_such_file_or_directory) { // nobody has made it yet
            throw;
        }
    }
    for (const auto& name : names) {
        if (const auto domid = backend::to_number(name); domid && *domid != 0 && *domid <= 0xffff) {
            begin(static_cast<std::uint16_t>(*domid));
        }
    }
}

asio::awaitable<std::shared_ptr<Guest>> Discovery::find(std::uint16_t domid) {
    if (domid == 0) {
        throw std::runtime_error("dom0's console is the machine's own, not one of the guests'");
    }
    const auto home = co_await store_->try_read(home_of(domid));
    if (!home) {
        throw std::runtime_error(fmt::format("there is no domain {}: see `domus list`", domid));
    }
    co_return begin(domid);
}

std::shared_ptr<Guest> Discovery::begin(std::uint16_t domid) {
    auto& guest = guests_[domid];
    if (!guest) {
        guest = std::make_shared<Guest>(executor_, domid);
        asio::co_spawn(executor_, look_after(guest), [](const std::exception_ptr& failure) {
            if (failure) {
                std::rethrow_exception(failure); // the store is lost
            }
        });
    }
    return guest;
}

void Discovery::end(const std::shared_ptr<Guest>& guest) {
    guest->close();
    if (const auto found = guests_.find(guest->domid()); found != guests_.end() && found->second == guest) {
        guests_.erase(found);
    }
}

asio::awaitable<void> Discovery::look_after(std::shared_ptr<Guest> guest) {
    const std::string home = home_of(guest->domid());
    const auto console = co_await store_->watch(home + "/console");
    // For a domain that goes before its console was made: a removal is told only to watches on nodes that were there.
    const auto name = co_await store_->watch(home + "/name");
    std::optional<Ends> serving;
    for (;;) {
        using namespace asio::experimental::awaitable_operators;
        co_await (console->next() || name->next()); // the first ones come at once
        const auto there = co_await store_->try_read(home);
        if (!there) {
            end(guest);
            co_return;
        }
        const auto ends = co_await read_ends(home + "/console"); // the toolstack may still be writing
        // The page that is held keeps its frame from being the next domain's, so that a new console has another.
        if (serving && ends && *ends != *serving) {
            end(guest);
            begin(guest->domid());
            co_return;
        }
        if (ends && !serving) {
            serving = ends;
            asio::co_spawn(executor_, serve(guest, *ends), [guest](const std::exception_ptr& failure) {
                try {
                    if (failure) {
                        std::rethrow_exception(failure);
                    }
                } catch (const std::exception& error) {
                    // It is not tried again at every event, and ends with its domain.
                    spdlog::error("domain {} ({}): console not served: {}", guest->domid(), guest->name(),
                                  error.what());
                }
            });
        }
    }
}

asio::awaitable<void> Discovery::serve(std::shared_ptr<Guest> guest, Ends ends) {
    const auto name = co_await store_->try_read(home_of(guest->domid()) + "/name");
    if (guest->closed()) {
        co_return;
    }
    guest->set_name(name.value_or(fmt::format("domain-{}", guest->domid())));
    GuestLog log(logs_.folder + "/" + log_file_name(guest->name(), guest->domid()), logs_.limit);
    const std::uint32_t reference[] = {GNTTAB_RESERVED_CONSOLE};
    auto held = std::make_shared<client::GrantMap>(access_.grants, guest->domid(), reference);
    std::shared_ptr<xencons_interface> page(held, held->as<xencons_interface>());
    held.reset();
    spdlog::info("domain {} ({}): console served", guest->domid(), guest->name());
    co_await guest->serve(std::move(page), access_.events, ends.port, std::move(log));
    spdlog::info("domain {} ({}): console closed", guest->domid(), guest->name());
}

asio::awaitable<std::optional<Discovery::Ends>> Discovery::read_ends(std::string folder) {
    const auto type = co_await store_->try_read(folder + "/type");
    if (type && *type != "xenconsoled" && *type != "domus-consoled") {
        co_return std::nullopt; // another program serves it
    }
    const auto ring = co_await store_->try_read(folder + "/ring-ref");
    const auto port = co_await store_->try_read(folder + "/port");
    const auto number = backend::to_number(port.value_or(""));
    if (!ring || !number || *number > 0xffffffff) {
        co_return std::nullopt;
    }
    Ends ends{*ring, static_cast<std::uint32_t>(*number)};
    co_return ends;
}

} // namespace domus::console
