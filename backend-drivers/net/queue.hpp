// One queue of a guest's network card: two rings, one or two event channels, one queue of the tap device, and a
// coroutine for each direction. Owner: Vif; the coroutines keep it alive until they have ended. No lock, one
// io_context.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <boost/asio/steady_timer.hpp>

#include "backend-drivers/common/device.hpp"
#include "backend-drivers/common/mapped_grants.hpp"
#include "backend-drivers/common/port.hpp"
#include "backend-drivers/net/rx_queue.hpp"
#include "backend-drivers/net/tap.hpp"
#include "backend-drivers/net/tx_queue.hpp"

namespace domus::net {

namespace asio = boost::asio;

/// Pages of a frontend that a queue keeps mapped: one for each slot of both rings, and a full list of the control ring.
inline constexpr std::size_t most_mapped = 512;

/// What a frontend says of one queue. The numbers are the guest's: mapping and binding check them.
struct QueueNodes {
    std::uint32_t tx_ring = 0, rx_ring = 0;
    std::uint32_t tx_port = 0, rx_port = 0; ///< the same: one event channel for both ways
};

class Queue : public std::enable_shared_from_this<Queue> {
public:
    struct Settings {
        TxQueue::Settings tx;
        RxQueue::Settings rx;
        bool resumed = false; ///< an earlier process served these rings
    };

    /// Maps and binds. Takes the tap's descriptor over in any case. Throws client::Error: nothing is left then.
    Queue(backend::Device& device, const QueueNodes& nodes, int tap, const Settings& settings,
          TxQueue::Counts tx_counts, RxQueue::Counts rx_counts, backend::MappedGrants::Figures mapped);
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;

    /// Serves until stop(). When it cannot go on, Device::fail() is told why.
    void start();
    /// Serves no more: closes the tap's queue and the ports, unmaps all. The device may be gone afterwards.
    void stop();
    int tap() { return tap_.descriptor(); }
    backend::MappedGrants& mapped() { return grants_; }

private:
    using Loop = asio::awaitable<void> (Queue::*)();
    /// A wake-up that is remembered until somebody waits for it.
    struct Bell {
        backend::Signal signal;
        bool rung = false;
        void ring() {
            rung = true;
            signal.notify();
        }
    };

    void spawn(Loop loop);
    asio::awaitable<void> from_guest();
    asio::awaitable<void> to_guest();
    asio::awaitable<void> answer_shared_port();
    asio::awaitable<void> wait_for_guest(backend::Port& port, Bell& bell);
    bool shared() const { return !rx_port_; }
    void notify(backend::Port& port) { (port ? port : tx_port_).notify(); }

    backend::Device& device_;
    backend::MappedGrants grants_; ///< before what is copied with them; memory goes back when the coroutines ended
    Tap tap_;
    client::GrantMap tx_page_, rx_page_;
    backend::Port tx_port_, rx_port_; ///< rx_port_ is none when one event channel serves both ways
    TxQueue tx_;
    RxQueue rx_;
    Bell tx_bell_, rx_bell_;
    asio::steady_timer throttle_;
    bool open_ = true;
};

} // namespace domus::net
