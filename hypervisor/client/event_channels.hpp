// Event channels of this domain under Asio: one descriptor of /dev/xen/evtchn, many ports, coroutines that wait.
// Owner: a daemon, one per process. Lock: none, used on its io_context only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace domus::client {

/// The seam: /dev/xen/evtchn through libxenevtchn, or a fake. Every member but the descriptor throws Error.
class RawEventChannels {
public:
    virtual ~RawEventChannels() = default;
    virtual int descriptor() const = 0; ///< readable while a port is pending; closed by this object
    virtual std::uint32_t bind_interdomain(std::uint16_t domid, std::uint32_t remote_port) = 0;
    virtual std::uint32_t bind_unbound(std::uint16_t remote) = 0;
    virtual std::uint32_t bind_virq(unsigned virq) = 0;
    virtual void unbind(std::uint32_t port) noexcept = 0;
    virtual void notify(std::uint32_t port) = 0;
    virtual std::optional<std::uint32_t> pending() = 0; ///< takes one pending port, which is then masked
    virtual void unmask(std::uint32_t port) = 0;
};

std::unique_ptr<RawEventChannels> open_event_channels();

class EventChannels {
public:
    explicit EventChannels(const boost::asio::any_io_executor& executor,
                           std::unique_ptr<RawEventChannels> raw = open_event_channels());
    EventChannels(const EventChannels&) = delete;
    EventChannels& operator=(const EventChannels&) = delete;
    ~EventChannels(); ///< every wait ends with operation_aborted

    const boost::asio::any_io_executor& get_executor() const { return executor_; }

    /// Local port connected to `remote_port` of `domid`.
    std::uint32_t bind_interdomain(std::uint16_t domid, std::uint32_t remote_port);
    std::uint32_t bind_unbound(std::uint16_t remote);
    std::uint32_t bind_virq(unsigned virq);
    /// Closes a port; a wait on it ends with operation_aborted.
    void unbind(std::uint32_t port) noexcept;
    void notify(std::uint32_t port);

    /// Waits for the next event on a bound port. Events that came since the last wait count as one. The port stays
    /// masked until it is waited for again, so a guest that sends without pause costs no more than its consumer.
    /// One waiter per port. Throws boost::system::system_error operation_aborted when the port is closed.
    boost::asio::awaitable<void> async_wait(std::uint32_t port);

private:
    struct State;
    boost::asio::any_io_executor executor_;
    std::shared_ptr<State> state_;
};

} // namespace domus::client
