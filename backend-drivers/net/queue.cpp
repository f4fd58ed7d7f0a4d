// See queue.hpp. After each wait a loop looks whether the queue is still open: stop() has unmapped the rings.
#include "backend-drivers/net/queue.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace domus::net {
namespace {

client::GrantMap map_ring(backend::Device& device, std::uint32_t reference) {
    return {device.access().grants, device.id().domid, std::span(&reference, 1)};
}

template <class Ring>
Ring ring_in(const client::GrantMap& page, bool resumed) {
    // An earlier process showed whole packets only (tx_queue.hpp): what follows was not served.
    const RingIndex at = resumed ? Ring::shown_in(page.data()) : 0;
    return Ring(page.data(), page_size, at, at);
}

} // namespace

Queue::Queue(backend::Device& device, const QueueNodes& nodes, int tap, const Settings& settings,
             TxQueue::Counts tx_counts, RxQueue::Counts rx_counts, backend::MappedGrants::Figures mapped)
    : device_(device), grants_(device.access().grants, device.id().domid, most_mapped, mapped),
      tap_(device.executor(), tap), tx_page_(map_ring(device, nodes.tx_ring)),
      rx_page_(map_ring(device, nodes.rx_ring)), tx_port_(device.access().events, device.id().domid, nodes.tx_port),
      tx_(ring_in<TxRing>(tx_page_, settings.resumed), grants_, tap_, settings.tx, tx_counts),
      rx_(ring_in<RxRing>(rx_page_, settings.resumed), grants_, tap_, settings.rx, rx_counts),
      tx_bell_{backend::Signal(device.executor())}, rx_bell_{backend::Signal(device.executor())},
      throttle_(device.executor()) {
    if (nodes.rx_port != nodes.tx_port) {
        rx_port_ = backend::Port(device.access().events, device.id().domid, nodes.rx_port);
    }
    tx_port_.count(tx_.figures()); // of both ways, when there is one port
    rx_port_.count(rx_.figures());
    if (settings.resumed) {
        tx_.forget_first();
        rx_.forget_first();
    }
}

void Queue::start() {
    spawn(&Queue::from_guest);
    spawn(&Queue::to_guest);
    if (shared()) {
        spawn(&Queue::answer_shared_port);
    }
    // An event that came while nobody had the port bound is lost, in either direction.
    notify(tx_port_);
    notify(rx_port_);
}

void Queue::spawn(Loop loop) {
    const auto self = shared_from_this();
    asio::co_spawn(device_.executor(), (this->*loop)(), [self](const std::exception_ptr& failure) {
        if (!failure || !self->open_) {
            return;
        }
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            self->device_.fail(error.what());
        }
    });
}

void Queue::stop() {
    open_ = false;
    tap_.stop();
    tx_port_.close();
    rx_port_.close();
    tx_bell_.ring();
    rx_bell_.ring();
    throttle_.cancel();
    grants_.clear();
    tx_page_.reset();
    rx_page_.reset();
}

asio::awaitable<void> Queue::from_guest() {
    while (open_) {
        const Turn turn = tx_.serve(Clock::now());
        tx_.note();
        if (tx_.take_notify()) {
            tx_port_.notify();
        }
        if (turn == Turn::More) {
            co_await asio::post(device_.executor(), asio::use_awaitable);
        } else if (turn == Turn::Throttled) {
            throttle_.expires_at(tx_.throttled_until());
            boost::system::error_code stopped;
            co_await throttle_.async_wait(asio::redirect_error(asio::use_awaitable, stopped));
        } else if (!tx_.ring().arm()) {
            co_await wait_for_guest(tx_port_, tx_bell_);
        }
    }
}

asio::awaitable<void> Queue::to_guest() {
    while (open_) {
        const Turn turn = rx_.serve();
        rx_.note();
        if (rx_.take_notify()) {
            notify(rx_port_);
        }
        if (turn == Turn::More) {
            co_await asio::post(device_.executor(), asio::use_awaitable);
        } else if (turn == Turn::Idle) {
            co_await tap_.readable();
        } else if (!rx_.arm()) {
            co_await wait_for_guest(rx_port_, rx_bell_);
        }
    }
}

asio::awaitable<void> Queue::wait_for_guest(backend::Port& port, Bell& bell) {
    if (!shared()) {
        co_await port.wait();
        co_return;
    }
    while (!std::exchange(bell.rung, false)) {
        co_await bell.signal.wait();
    }
}

/// A port has one waiter: this one, for both directions.
asio::awaitable<void> Queue::answer_shared_port() {
    while (open_) {
        co_await tx_port_.wait();
        tx_bell_.ring();
        rx_bell_.ring();
    }
}

} // namespace domus::net
