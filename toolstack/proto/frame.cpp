// Frames on the socket between `domus` and `domusd`. No lock.
#include <utility>

#include "toolstack/proto/frame.hpp"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>
#include <stdexcept>

namespace domus::proto {

namespace asio = boost::asio;

asio::awaitable<void> send(Socket& socket, const google::protobuf::Message& message) {
    std::string frame(4, '\0');
    message.AppendToString(&frame);
    const std::size_t length = frame.size() - 4;
    if (length > kLongestFrame)
        throw std::runtime_error(fmt::format("a message of {} bytes does not fit into a frame", length));
    for (unsigned i = 0; i < 4; ++i)
        frame[i] = char(length >> (8 * i));
    co_await asio::async_write(socket, asio::buffer(frame), asio::use_awaitable);
}

asio::awaitable<void> receive(Socket& socket, google::protobuf::Message& message) {
    std::array<unsigned char, 4> head;
    co_await asio::async_read(socket, asio::buffer(head), asio::use_awaitable);
    const std::uint32_t length = head[0] | head[1] << 8 | head[2] << 16 | std::uint32_t(head[3]) << 24;
    if (length > kLongestFrame)
        throw std::runtime_error(
            fmt::format("a frame of {} bytes was announced, at most {} are taken; is this domusd's socket?", length,
                        kLongestFrame));
    std::string body(length, '\0');
    co_await asio::async_read(socket, asio::buffer(body), asio::use_awaitable);
    if (!message.ParseFromString(body))
        throw std::runtime_error(fmt::format("a frame of {} bytes is not a {}; the two ends differ in version", length,
                                             message.GetTypeName()));
}

std::string version_complaint(std::uint32_t our_version, std::string_view ours, std::uint32_t their_version,
                              std::string_view theirs) {
    if (our_version == their_version)
        return {};
    const bool we_are_older = our_version < their_version;
    return fmt::format("{} speaks version {} of the protocol, {} version {}; update {} (both come from one build) and "
                       "start it again",
                       ours, our_version, theirs, their_version, we_are_older ? ours : theirs);
}

} // namespace domus::proto
