// A bound event channel of a queue: unbound when destroyed. Header-only. Owner: the queue. No lock: one io_context.
#pragma once

#include <memory>
#include <utility>

#include "backend-drivers/common/stats.hpp"
#include "hypervisor/client/event_channels.hpp"

namespace domus::backend {

class Port {
public:
    Port() = default;
    /// Throws client::Error when the guest's port is not one that waits for this domain.
    Port(std::shared_ptr<client::EventChannels> events, std::uint16_t domid, std::uint32_t remote)
        : events_(std::move(events)), number_(events_->bind_interdomain(domid, remote)) {}
    Port(Port&& other) noexcept { *this = std::move(other); }
    Port& operator=(Port&& other) noexcept {
        close();
        events_ = std::move(other.events_);
        number_ = other.number_;
        received_ = other.received_;
        sent_ = other.sent_;
        return *this;
    }
    ~Port() { close(); }

    explicit operator bool() const { return events_ != nullptr; }
    std::uint32_t number() const { return number_; }
    /// Events from now on are counted there.
    void count(const RingFigures& figures) {
        received_ = figures.events;
        sent_ = figures.notifies;
    }
    void notify() {
        events_->notify(number_);
        sent_.add();
    }
    /// As EventChannels::async_wait(), the port outlives it: throws operation_aborted when the port is closed
    /// meanwhile.
    boost::asio::awaitable<void> wait() {
        co_await events_->async_wait(number_);
        if (events_) { // not closed meanwhile, and the figures with it
            received_.add();
        }
    }
    void close() noexcept {
        if (events_) {
            events_->unbind(number_);
        }
        events_.reset();
    }

private:
    std::shared_ptr<client::EventChannels> events_;
    std::uint32_t number_ = 0;
    Stats::Value received_, sent_;
};

} // namespace domus::backend
