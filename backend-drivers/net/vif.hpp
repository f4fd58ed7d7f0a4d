// A guest's network card: what is offered, and the queues while a frontend is connected. Owner: its Device.
// No lock, one io_context. The tap device lives from offer() or resume() to disconnect(); a new process makes it anew.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend-drivers/common/device.hpp"
#include "backend-drivers/common/stats.hpp"
#include "backend-drivers/net/control.hpp"
#include "backend-drivers/net/network.hpp"
#include "backend-drivers/net/queue.hpp"

namespace domus::net {

inline constexpr const char* device_type = "domus-vif";
/// Queues offered to each card.
inline constexpr unsigned most_queues = 4;

/// "00:16:3e:01:02:03". Throws std::runtime_error for anything else.
Mac parse_mac(const std::string& text);
/// "BYTES,MICROSECONDS", what may be sent in each interval, shared out among `queues`. "0,..." is no limit.
std::optional<RateLimit> parse_rate(const std::string& text, unsigned queues, Clock::time_point now);

class Vif final : public backend::Driver {
public:
    /// Figures are shown in the file `figures`, or nowhere when it is empty.
    Vif(backend::Device& device, Network& network, const std::string& figures);
    ~Vif() override;

    asio::awaitable<backend::Nodes> offer() override;
    asio::awaitable<backend::Nodes> connect() override;
    asio::awaitable<bool> resume() override;
    asio::awaitable<void> disconnect() override;

private:
    using Queues = std::vector<std::shared_ptr<Queue>>;

    asio::awaitable<void> plug();
    asio::awaitable<void> attach(bool resumed);
    asio::awaitable<Queue::Settings> read_settings(unsigned queues);
    asio::awaitable<QueueNodes> read_queue(std::string prefix);
    asio::awaitable<std::optional<ControlNodes>> read_control();
    asio::awaitable<bool> frontend_has(std::string feature);
    std::shared_ptr<Queue> make_queue(unsigned number, const QueueNodes& nodes, const Queue::Settings& settings);
    std::shared_ptr<Control> make_control(const ControlNodes& nodes, const Queues& queues, bool resumed);
    void stop();

    backend::Device& device_;
    Network& network_;
    backend::Stats stats_;
    std::string interface_;
    Descriptor first_; ///< the tap's first queue, as long as no frontend is connected
    Queues queues_;
    std::shared_ptr<Control> control_; ///< or none
};

} // namespace domus::net
