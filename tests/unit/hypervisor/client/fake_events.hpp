// Event channels without a hypervisor: fire() makes a port pending as a guest's notify would. Test code.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <set>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

#include "hypervisor/client/event_channels.hpp"

namespace domus::client::test {

struct FakeEvents : RawEventChannels {
    int ready = ::eventfd(0, EFD_NONBLOCK);
    std::uint32_t last_port = 10;
    std::deque<std::uint32_t> queue;
    std::set<std::uint32_t> masked, waiting; ///< waiting: fired while masked
    std::vector<std::uint32_t> unbound, notified;

    FakeEvents() = default;
    FakeEvents(const FakeEvents&) = delete;
    FakeEvents& operator=(const FakeEvents&) = delete;
    ~FakeEvents() override { ::close(ready); }

    void fire(std::uint32_t port) {
        if (masked.contains(port)) {
            waiting.insert(port);
        } else if (std::find(queue.begin(), queue.end(), port) == queue.end()) {
            queue.push_back(port);
            ::eventfd_write(ready, 1);
        }
    }

    int descriptor() const override { return ready; }
    std::uint32_t bind_interdomain(std::uint16_t, std::uint32_t) override { return ++last_port; }
    std::uint32_t bind_unbound(std::uint16_t) override { return ++last_port; }
    std::uint32_t bind_virq(unsigned) override { return ++last_port; }
    void unbind(std::uint32_t port) noexcept override { unbound.push_back(port); }
    void notify(std::uint32_t port) override { notified.push_back(port); }
    std::optional<std::uint32_t> pending() override {
        if (queue.empty()) {
            eventfd_t count = 0;
            ::eventfd_read(ready, &count);
            return std::nullopt;
        }
        const std::uint32_t port = queue.front();
        queue.pop_front();
        masked.insert(port);
        return port;
    }
    void unmask(std::uint32_t port) override {
        masked.erase(port);
        if (waiting.erase(port)) {
            fire(port);
        }
    }
};

} // namespace domus::client::test
