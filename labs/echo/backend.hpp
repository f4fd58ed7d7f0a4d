// The echo device's backend: one class on backend-drivers/common. Owner: backend::Device. No lock: one io_context.
#pragma once

#include "backend-drivers/common/device.hpp"
#include "backend-drivers/common/port.hpp"
#include "backend-drivers/common/ring.hpp"
#include "labs/echo/protocol.hpp"

#include <array>

namespace domus::echo {

class EchoDriver final : public backend::Driver {
public:
    explicit EchoDriver(backend::Device& device) : device_(device) {}
    ~EchoDriver() override;

    boost::asio::awaitable<backend::Nodes> offer() override;
    boost::asio::awaitable<backend::Nodes> connect() override;
    boost::asio::awaitable<bool> resume() override;
    boost::asio::awaitable<void> disconnect() override;

private:
    class Queue; // lives as long as its loop runs, which may be a moment longer than the connection
    backend::Device& device_;
    std::shared_ptr<Queue> queue_;
};

} // namespace domus::echo
