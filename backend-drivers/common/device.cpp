// See device.hpp. What to do is decided in xenbus.cpp; here it is done.
#include "backend-drivers/common/device.hpp"

#include <stdexcept>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "backend-drivers/common/first_of.hpp"

namespace domus::backend {

GuestAccess open_guest_access(const asio::any_io_executor& executor) {
    GuestAccess access{client::open_grants(), std::make_shared<client::EventChannels>(executor)};
    access.grants->open_own_memory();
    return access;
}

Device::Device(std::shared_ptr<xenstore::Client> store, GuestAccess access, DeviceId id, MakeDriver make)
    : store_(std::move(store)), access_(std::move(access)), id_(std::move(id)),
      executor_(access_.events->get_executor()), wake_(executor_) {
    driver_ = make(*this);
}

Device::~Device() = default;

void Device::stop() {
    stopped_ = true;
    wake_.notify();
}

void Device::fail(std::string reason) {
    if (!failure_) {
        failure_ = std::move(reason);
    }
    wake_.notify();
}

asio::awaitable<void> Device::run() {
    const auto frontend = co_await node("frontend");
    if (!frontend) {
        co_return; // removed before it was looked at
    }
    frontend_path_ = *frontend;
    auto own = co_await store_->watch(id_.path());
    auto other = co_await store_->watch(frontend_path_ + "/state");
    std::exception_ptr lost;
    try {
        co_await first_of(follow(std::move(own)), follow(std::move(other)), serve());
    } catch (...) {
        lost = std::current_exception();
    }
    co_await disconnect();
    if (lost) {
        std::rethrow_exception(lost);
    }
}

asio::awaitable<void> Device::follow(std::shared_ptr<xenstore::Watch> watch) {
    for (;;) {
        co_await watch->next();
        changed_ = true;
        wake_.notify();
    }
}

asio::awaitable<void> Device::serve() {
    while (!stopped_) {
        if (failure_) {
            co_await report_failure();
        }
        if (!std::exchange(changed_, false)) {
            co_await wake_.wait();
            continue;
        }
        const bool more = co_await step();
        if (!more) {
            co_return;
        }
    }
}

/// False: the device is taken away.
asio::awaitable<bool> Device::step() {
    const auto mine = co_await node("state");
    if (!mine) {
        const auto still = co_await node("frontend");
        if (!still) {
            co_return false;
        }
    }
    const auto online = co_await node("online");
    const auto frontend = co_await frontend_node("state");
    Facts facts;
    facts.mine = parse_state(mine);
    facts.frontend = parse_state(frontend);
    facts.online = online.value_or("0") == "1";
    facts.connected = connected_;
    facts.may_resume = may_resume_;
    facts.renewed = co_await renewed();
    const Action action = decide(facts);
    if (action != Action::None) {
        spdlog::debug("{}: backend {}, frontend {}, {}", id_.text(), name_of(facts.mine), name_of(facts.frontend),
                      facts.online ? "online" : "offline");
        co_await attempt(action);
    }
    co_return true;
}

/// A frontend may go and come back while nobody looked, and then both nodes say Connected as before.
asio::awaitable<bool> Device::renewed() {
    bool differs = false;
    for (std::size_t i = 0; connected_ && i < read_.size(); ++i) {
        const auto now = co_await frontend_node(read_[i].first);
        differs |= now != read_[i].second;
    }
    co_return differs;
}

/// A store that is lost ends the device; everything else that fails closes it.
asio::awaitable<void> Device::attempt(Action action) {
    std::string reason;
    try {
        co_await act(action);
    } catch (const boost::system::system_error& error) {
        if (error.code() == boost::system::errc::operation_canceled || error.code() == asio::error::operation_aborted) {
            throw;
        }
        reason = error.what();
    } catch (const std::exception& error) {
        reason = error.what();
    }
    if (!reason.empty()) {
        fail(std::move(reason));
    }
}

asio::awaitable<void> Device::act(Action action) {
    switch (action) {
    case Action::None:
        break;
    case Action::Restart:
        co_await disconnect();
        [[fallthrough]];
    case Action::Offer:
        may_resume_ = false;
        co_await offer();
        break;
    case Action::Connect:
        co_await connect();
        break;
    case Action::Resume: {
        may_resume_ = false;
        connected_ = true; // disconnect() must clean up after a resume that fails
        read_.clear();
        connecting_ = true;
        const bool resumed = co_await driver_->resume();
        connecting_ = false;
        if (!resumed) {
            throw std::runtime_error("the frontend is connected, but what an earlier process served is not known here");
        }
        spdlog::info("{}: serves on", id_.text());
        break;
    }
    case Action::ShowClosing:
        co_await publish({}, State::Closing);
        break;
    case Action::Close:
        may_resume_ = false;
        co_await disconnect();
        co_await publish({}, State::Closed);
        spdlog::info("{}: closed", id_.text());
        break;
    }
}

asio::awaitable<void> Device::offer() {
    Nodes nodes = co_await driver_->offer();
    co_await publish(std::move(nodes), State::InitWait);
}

asio::awaitable<void> Device::connect() {
    read_.clear();
    connecting_ = true;
    Nodes nodes = co_await driver_->connect();
    connecting_ = false;
    connected_ = true;
    co_await publish(std::move(nodes), State::Connected);
    spdlog::info("{}: connected", id_.text());
}

asio::awaitable<void> Device::disconnect() {
    connecting_ = false; // where connecting failed
    if (std::exchange(connected_, false)) {
        co_await driver_->disconnect();
    }
}

asio::awaitable<void> Device::report_failure() {
    const std::string reason = *failure_;
    spdlog::error("{}: {}", id_.text(), reason);
    co_await disconnect();
    failure_.reset();
    co_await store_->write(id_.error_path(), "22 " + reason);
    co_await publish({}, State::Closing);
    changed_ = true;
}

asio::awaitable<void> Device::publish(Nodes nodes, State state) {
    const std::string path = id_.path();
    co_await store_->transaction([&](xenstore::Tx tx) -> asio::awaitable<void> {
        // A directory that the toolstack has removed must not come back half.
        const auto there = co_await store_->try_read(path + "/frontend", tx);
        if (!there) {
            co_return;
        }
        std::vector<xenstore::Client::Node> all;
        for (const auto& [name, value] : nodes) {
            all.push_back({path + "/" + name, value, {}});
        }
        all.push_back({path + "/state", to_text(state), {}});
        co_await store_->write_nodes(std::move(all), tx);
    });
}

asio::awaitable<void> Device::publish_again(Nodes nodes) {
    const auto mine = co_await node("state");
    if (connected_ && parse_state(mine) == State::Connected) {
        co_await publish(std::move(nodes), State::Connected);
    }
}

asio::awaitable<std::optional<std::string>> Device::node(std::string name) {
    co_return co_await store_->try_read(id_.path() + "/" + name);
}

asio::awaitable<std::optional<std::string>> Device::frontend_node(std::string name) {
    auto value = co_await store_->try_read(frontend_path_ + "/" + name);
    if (connecting_) {
        read_.emplace_back(std::move(name), value);
    }
    co_return value;
}

asio::awaitable<std::optional<std::uint64_t>> Device::frontend_number(std::string name, std::uint64_t limit) {
    const auto text = co_await frontend_node(name);
    if (!text) {
        co_return std::nullopt;
    }
    const auto value = to_number(*text);
    if (!value || *value > limit) {
        throw std::runtime_error(
            fmt::format("the frontend's node {} is {:.40}, expected a number of at most {}", name, *text, limit));
    }
    co_return value;
}

asio::awaitable<std::uint64_t> Device::frontend_need(std::string name, std::uint64_t limit) {
    const auto value = co_await frontend_number(name, limit);
    if (!value) {
        throw std::runtime_error(fmt::format("the frontend has no node {}", name));
    }
    co_return *value;
}

} // namespace domus::backend
