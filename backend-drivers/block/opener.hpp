// The half of domus-blockd that keeps root's user, and opens media for the other half, which serves guests and may be
// in the hands of one. Two processes with a pair of sockets: the worker names one of its devices by two numbers; what
// that device's medium is, and whether it may be written, the opener reads from the store over a connection of its own,
// where the worker's user cannot write it (xenstore-lite/server/peer.hpp). It answers with a descriptor or an error.
// Lock: none, one io_context in each. It holds no guest's memory, has no capabilities and few system calls, and ends
// when the worker does. In a driver domain the worker can write these nodes: docs/driver-domains.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

#include "backend-drivers/block/media.hpp"
#include "xenstore-lite/client/client.hpp"

namespace domus::block {

/// Both ends' messages, one for each packet.
struct OpenRequest {
    std::uint32_t devid;
    std::uint16_t domid;
    std::uint16_t zero;
};
struct OpenAnswer {
    std::int32_t error; ///< 0: a descriptor comes with it
    char why[252];      ///< ends with a zero byte
};
static_assert(sizeof(OpenRequest) == 8 && sizeof(OpenAnswer) == 256);

/// The worker's side. Requests are answered in their order.
class RemoteOpener final : public Opener {
public:
    /// `lost` is called once, when the opener is gone: nothing can be opened any more.
    RemoteOpener(boost::asio::any_io_executor executor, client::Descriptor socket, std::function<void()> lost);
    RemoteOpener(const RemoteOpener&) = delete;
    RemoteOpener& operator=(const RemoteOpener&) = delete;
    ~RemoteOpener() override;
    boost::asio::awaitable<Opened> open(Spec spec) override;

private:
    struct State;
    std::shared_ptr<State> state_;
};

/// The opener's side: answers until the worker is gone, or sends what is no request.
boost::asio::awaitable<void> serve_openings(client::Descriptor socket, std::shared_ptr<xenstore::Client> store);

/// Where the opener finds its end when it starts: the first behind standard input, output and errors.
inline constexpr int opener_socket = 3;
/// Starts the program domus-blockd-opener, which lies beside this one. Returns the worker's end. Throws
/// std::runtime_error.
client::Descriptor start_opener(const std::string& store);
/// Its main().
int run_opener(const std::string& store);

} // namespace domus::block
