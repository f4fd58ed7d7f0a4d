// One queue of a tap device as a Wire: packets with their WireHeader in front, read and written without blocking.
// Owner: a Queue. No lock, one thread. Tests put one end of a socket pair in the place of the tap.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "backend-drivers/net/packet_ring.hpp"

namespace domus::net {

class Tap final : public Wire {
public:
    /// Takes the descriptor over; it does not block.
    Tap(const boost::asio::any_io_executor& executor, int descriptor) : stream_(executor, descriptor) {}

    void send(std::span<Outgoing> packets) override;
    ssize_t receive(std::span<const iovec> pieces) override;

    /// Until there is something to read, or stop().
    boost::asio::awaitable<void> readable() {
        boost::system::error_code stopped;
        co_await stream_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                                    boost::asio::redirect_error(boost::asio::use_awaitable, stopped));
    }
    /// Ends readable() and closes the queue.
    void stop() {
        boost::system::error_code ignored;
        stream_.close(ignored);
    }
    int descriptor() { return stream_.native_handle(); }

private:
    PacketRing ring_;
    boost::asio::posix::stream_descriptor stream_;
};

} // namespace domus::net
