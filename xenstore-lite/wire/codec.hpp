// The xenstore wire format (<xen/io/xs_wire.h>): messages to bytes and back, error names, lists of strings.
// Pure functions and values: no I/O, no lock. Used by the client, the server and the fuzzer.
// Must never trust a length it has read: a header announcing more than XENSTORE_PAYLOAD_MAX ends the connection.
#pragma once

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <xen/io/xs_wire.h>

namespace domus::xenstore::wire {

inline constexpr std::size_t header_size = sizeof(xsd_sockmsg);
inline constexpr std::size_t max_payload = XENSTORE_PAYLOAD_MAX;
static_assert(header_size == 16, "struct xsd_sockmsg is four 32-bit words on the wire");

/// One message in either direction. `type` is an xsd_sockmsg_type, or whatever number a hostile peer sent.
struct Message {
    std::uint32_t type = XS_INVALID;
    std::uint32_t req_id = 0; ///< chosen by the client, echoed in the reply; 0 in watch events
    std::uint32_t tx_id = 0;  ///< transaction, 0 for none
    std::string payload;

    bool operator==(const Message&) const = default;
};

/// The message as bytes. Precondition: payload of at most max_payload bytes.
std::string encode(const Message& message);

/// Cuts a stream of bytes into messages. Keeps what is not yet a whole message.
class Decoder {
public:
    /// More bytes of the stream. Bytes after an over-long message are kept but never looked at.
    void feed(std::string_view bytes) { buffer_ += bytes; }

    /// The next whole message, or nothing if there is none yet or the stream is broken.
    std::optional<Message> next();

    /// True once a header announced more than max_payload bytes: nothing after it can be trusted.
    bool broken() const { return broken_; }

    /// Bytes of the message that is not complete yet.
    std::string_view partial() const { return std::string_view(buffer_).substr(start_); }

    /// How many more bytes the message in progress needs at least; never 0.
    std::size_t wanted() const;

private:
    std::string buffer_;
    std::size_t start_ = 0;
    bool broken_ = false;
};

/// Name of an errno value as error replies carry it. Numbers without a name become "EINVAL".
std::string_view error_name(int number);

/// The errno value of an error reply's name, EIO for an unknown name.
int error_number(std::string_view name);

/// Name of a message type for logs, "unknown" for numbers that are none.
std::string_view type_name(std::uint32_t type);

/// Cuts at every NUL. "a\0b\0" gives {a, b}; "a\0b" gives {a, b} as well; "" gives {}; "\0" gives {""}.
std::vector<std::string> split(std::string_view payload);

/// Every string followed by a NUL.
std::string join(const std::vector<std::string>& strings);

} // namespace domus::xenstore::wire
