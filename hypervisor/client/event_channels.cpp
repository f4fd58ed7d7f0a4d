// Event channels under Asio: a pump reads pending ports and wakes their waiters. See event_channels.hpp.
#include "hypervisor/client/event_channels.hpp"

#include <exception>
#include <map>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "hypervisor/client/error.hpp"

namespace domus::client {

namespace asio = boost::asio;

namespace {
/// One bound port. Kept alive by the table and by its waiter, so that a close during a wait is safe.
struct Port {
    explicit Port(const asio::any_io_executor& executor) : signal(executor, asio::steady_timer::time_point::max()) {}
    asio::steady_timer signal; // never expires; cancelled to wake the waiter
    bool pending = false;      // an event came that no wait has taken
    bool masked = false;       // the device will not report it again until it is unmasked
    bool closed = false;
};
} // namespace

struct EventChannels::State : std::enable_shared_from_this<State> {
    State(const asio::any_io_executor& executor, std::unique_ptr<RawEventChannels> device)
        : raw(std::move(device)), stream(executor, raw->descriptor()) {}
    ~State() { stream.release(); } // the raw object closes the descriptor

    std::uint32_t add(std::uint32_t number) {
        ports[number] = std::make_shared<Port>(stream.get_executor());
        return number;
    }

    void close(std::uint32_t number) noexcept {
        const auto found = ports.find(number);
        if (found == ports.end()) {
            return;
        }
        found->second->closed = true;
        found->second->signal.cancel();
        ports.erase(found);
        raw->unbind(number);
    }

    void take_pending() {
        while (const auto number = raw->pending()) {
            const auto found = ports.find(*number);
            if (found == ports.end()) {
                continue; // closed after the event was queued
            }
            found->second->pending = true;
            found->second->masked = true;
            found->second->signal.cancel();
        }
    }

    static asio::awaitable<void> pump(std::shared_ptr<State> self) {
        while (!self->stopped) {
            boost::system::error_code failed;
            co_await self->stream.async_wait(asio::posix::stream_descriptor::wait_read,
                                             asio::redirect_error(asio::use_awaitable, failed));
            if (failed || self->stopped) {
                break;
            }
            self->take_pending();
        }
    }

    std::unique_ptr<RawEventChannels> raw;
    asio::posix::stream_descriptor stream;
    std::map<std::uint32_t, std::shared_ptr<Port>> ports;
    bool stopped = false;
};

EventChannels::EventChannels(const asio::any_io_executor& executor, std::unique_ptr<RawEventChannels> raw)
    : executor_(executor), state_(std::make_shared<State>(executor, std::move(raw))) {
    asio::co_spawn(executor, State::pump(state_), [](const std::exception_ptr& failure) {
        if (failure) { // a daemon deaf to its guests is worse than one that is restarted
            std::rethrow_exception(failure);
        }
    });
}

EventChannels::~EventChannels() {
    state_->stopped = true;
    while (!state_->ports.empty()) {
        state_->close(state_->ports.begin()->first);
    }
    boost::system::error_code ignored;
    state_->stream.cancel(ignored);
}

std::uint32_t EventChannels::bind_interdomain(std::uint16_t domid, std::uint32_t remote_port) {
    return state_->add(state_->raw->bind_interdomain(domid, remote_port));
}

std::uint32_t EventChannels::bind_unbound(std::uint16_t remote) {
    return state_->add(state_->raw->bind_unbound(remote));
}

std::uint32_t EventChannels::bind_virq(unsigned virq) {
    return state_->add(state_->raw->bind_virq(virq));
}

void EventChannels::unbind(std::uint32_t port) noexcept {
    state_->close(port);
}

void EventChannels::notify(std::uint32_t port) {
    state_->raw->notify(port);
}

asio::awaitable<void> EventChannels::async_wait(std::uint32_t number) {
    const auto state = state_;
    const auto found = state->ports.find(number);
    if (found == state->ports.end()) {
        throw Error("wait for event channel " + std::to_string(number), std::nullopt, EBADF,
                    "the port is not bound by this process");
    }
    const auto port = found->second;
    while (!port->pending && !port->closed) {
        if (std::exchange(port->masked, false)) {
            state->raw->unmask(number);
        }
        boost::system::error_code woken;
        co_await port->signal.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    }
    if (port->closed) {
        throw boost::system::system_error(asio::error::operation_aborted,
                                          "event channel " + std::to_string(number) + " was closed");
    }
    port->pending = false;
}

} // namespace domus::client
