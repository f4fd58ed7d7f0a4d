// One guest's console in the daemon: its ring and event channel on one side, log and attached terminals on the other.
// Owner: Server's table, kept alive by its coroutine and its sessions. No lock: one io_context.
// The guest is not trusted: it can fill its ring and ring the bell without end, and gets its share of time and no more.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include <boost/asio/awaitable.hpp>

#include "backend-drivers/common/port.hpp"
#include "backend-drivers/common/signal.hpp"
#include "backend-drivers/console/guest_log.hpp"
#include "backend-drivers/console/ring.hpp"
#include "backend-drivers/console/scrollback.hpp"

namespace domus::console {

/// Where a console's output goes while a terminal is attached.
class Listener {
public:
    virtual ~Listener() = default;
    virtual void output(std::string_view bytes) = 0;
    virtual void ended() = 0; ///< the guest is gone; nothing more comes
};

class Guest : public std::enable_shared_from_this<Guest> {
public:
    Guest(boost::asio::any_io_executor executor, std::uint16_t domid);

    std::uint16_t domid() const { return domid_; }
    const std::string& name() const { return name_; }
    void set_name(std::string name) { name_ = std::move(name); }

    /// Serves the ring until the guest is closed. What is in the ring already is taken first: it may have been
    /// written while no daemon ran. `remote_port` is the guest's end of the event channel.
    boost::asio::awaitable<void> serve(std::shared_ptr<xencons_interface> page,
                                       std::shared_ptr<client::EventChannels> events, std::uint32_t remote_port,
                                       GuestLog log);

    /// Takes the last output and tells the listeners that the guest is gone. serve() ends. Idempotent.
    void close();
    bool closed() const { return closed_; }

    void attach(Listener& listener) { listeners_.insert(&listener); }
    void detach(Listener& listener) { listeners_.erase(&listener); }
    std::string recent_output() const { return scrollback_.recent(); }

    /// Queues keyboard input. Ask input_room() first; more than that is still taken.
    void input(std::string_view bytes);
    bool input_room() const { return input_.size() < input_high_water; }
    backend::Signal& input_taken() { return input_taken_; }

    static constexpr std::size_t scrollback_bytes = 64 << 10;
    static constexpr std::size_t input_high_water = 16 << 10;
    /// Output taken from one guest per second; the rest waits in its ring, and the guest with it.
    static constexpr std::size_t output_per_second = 1 << 20;

private:
    /// Moves what is there, both ways. True when the guest has to be told.
    bool transfer();
    void publish(std::string_view bytes);
    boost::asio::awaitable<void> keep_share();

    boost::asio::any_io_executor executor_;
    std::uint16_t domid_;
    std::string name_;
    std::unique_ptr<Ring> ring_;
    backend::Port port_;
    GuestLog log_;
    bool log_failed_ = false, corrupt_seen_ = false, closed_ = false;
    Scrollback scrollback_{scrollback_bytes};
    std::string input_;
    backend::Signal input_taken_;
    std::set<Listener*> listeners_;
    std::chrono::steady_clock::time_point second_began_{};
    std::size_t this_second_ = 0;
};

} // namespace domus::console
