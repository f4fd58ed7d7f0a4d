// Frames on the socket between `domus` and `domusd`: four bytes of length, little-endian, then one message.
// Owner: whoever owns the socket. No lock. Used by both ends. Never trusts a length it has not checked.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <cstdint>
#include <google/protobuf/message.h>
#include <string>
#include <string_view>

namespace domus::proto {

/// Raised when a field changes its meaning. Both ends must have the same.
inline constexpr std::uint32_t kProtocolVersion = 1;

/// Longest message either end accepts, in bytes.
inline constexpr std::uint32_t kLongestFrame = 8u << 20;

inline constexpr std::string_view kDefaultSocket = "/run/domus/domusd.sock";

using Socket = boost::asio::local::stream_protocol::socket;

/// Sends one message. Throws boost::system::system_error.
boost::asio::awaitable<void> send(Socket& socket, const google::protobuf::Message& message);

/// Receives one message. Throws boost::system::system_error (eof: the other end closed between frames) or
/// std::runtime_error when the frame is too long or does not parse.
boost::asio::awaitable<void> receive(Socket& socket, google::protobuf::Message& message);

/// What to tell a person when the versions differ; empty when they agree. `ours` and `theirs` are program names.
std::string version_complaint(std::uint32_t our_version, std::string_view ours, std::uint32_t their_version,
                              std::string_view theirs);

} // namespace domus::proto
