// The xenstore wire format. See codec.hpp.
#include "xenstore-lite/wire/codec.hpp"

#include <array>
#include <cstring>

namespace domus::xenstore::wire {

std::string encode(const Message& message) {
    const xsd_sockmsg header{message.type, message.req_id, message.tx_id,
                             static_cast<std::uint32_t>(message.payload.size())};
    std::string bytes(header_size, '\0');
    std::memcpy(bytes.data(), &header, header_size);
    return bytes += message.payload;
}

std::size_t Decoder::wanted() const {
    const auto have = partial();
    if (have.size() < header_size) {
        return header_size - have.size();
    }
    xsd_sockmsg header;
    std::memcpy(&header, have.data(), header_size);
    const std::size_t whole = header_size + header.len;
    return whole > have.size() ? whole - have.size() : 1;
}

std::optional<Message> Decoder::next() {
    const auto have = partial();
    if (broken_ || have.size() < header_size) {
        return std::nullopt;
    }
    xsd_sockmsg header;
    std::memcpy(&header, have.data(), header_size);
    if (header.len > max_payload) {
        broken_ = true;
        return std::nullopt;
    }
    if (have.size() < header_size + header.len) {
        return std::nullopt;
    }
    Message message{header.type, header.req_id, header.tx_id, std::string(have.substr(header_size, header.len))};
    start_ += header_size + header.len;
    if (start_ == buffer_.size() || start_ > 64 * 1024) { // moving bytes is cheap when there are few
        buffer_.erase(0, start_);
        start_ = 0;
    }
    return message;
}

std::string_view error_name(int number) {
    for (const auto& entry : xsd_errors) {
        if (entry.errnum == number) {
            return entry.errstring;
        }
    }
    return "EINVAL";
}

int error_number(std::string_view name) {
    for (const auto& entry : xsd_errors) {
        if (name == entry.errstring) {
            return entry.errnum;
        }
    }
    return EIO;
}

std::string_view type_name(std::uint32_t type) {
    static constexpr std::array<std::string_view, XS_TYPE_COUNT> names = {"control",
                                                                          "directory",
                                                                          "read",
                                                                          "get_perms",
                                                                          "watch",
                                                                          "unwatch",
                                                                          "transaction_start",
                                                                          "transaction_end",
                                                                          "introduce",
                                                                          "release",
                                                                          "get_domain_path",
                                                                          "write",
                                                                          "mkdir",
                                                                          "rm",
                                                                          "set_perms",
                                                                          "watch_event",
                                                                          "error",
                                                                          "is_domain_introduced",
                                                                          "resume",
                                                                          "set_target",
                                                                          "restrict",
                                                                          "reset_watches",
                                                                          "directory_part"};
    return type < names.size() ? names[type] : "unknown";
}

std::vector<std::string> split(std::string_view payload) {
    std::vector<std::string> strings;
    while (!payload.empty()) {
        const auto end = payload.find('\0');
        strings.emplace_back(payload.substr(0, end));
        payload.remove_prefix(end == std::string_view::npos ? payload.size() : end + 1);
    }
    return strings;
}

std::string join(const std::vector<std::string>& strings) {
    std::string payload;
    for (const auto& text : strings) {
        payload.append(text).push_back('\0');
    }
    return payload;
}

} // namespace domus::xenstore::wire
