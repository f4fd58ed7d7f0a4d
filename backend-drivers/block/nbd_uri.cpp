// See nbd_uri.hpp.
#include "backend-drivers/block/nbd_uri.hpp"

#include <charconv>
#include <string_view>

namespace domus::block {
namespace {

/// %XX as the byte. Nothing for what is none, or a zero byte, which ends paths.
std::optional<std::string> decoded(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            plain += text[i];
            continue;
        }
        unsigned byte = 0;
        const char* const digits = text.data() + i + 1;
        if (text.size() - i < 3 || std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2 || byte == 0) {
            return std::nullopt;
        }
        plain += static_cast<char>(byte);
        i += 2;
    }
    return plain.find('\0') == std::string::npos ? std::optional(plain) : std::nullopt;
}

} // namespace

bool is_nbd(const std::string& target) {
    return target.starts_with("nbd://") || target.starts_with("nbd+unix://") || target.starts_with("nbds://") ||
           target.starts_with("nbds+unix://");
}

std::optional<LocalServer> local_server(const std::string& target) {
    constexpr std::string_view begin = "nbd+unix:///", parameter = "socket=";
    std::string_view rest = target;
    if (!rest.starts_with(begin)) {
        return std::nullopt;
    }
    rest.remove_prefix(begin.size());
    const auto question = rest.find('?');
    if (question == std::string_view::npos || !rest.substr(question + 1).starts_with(parameter) ||
        rest.find_first_of("&#", question) != std::string_view::npos) {
        return std::nullopt;
    }
    auto name = decoded(rest.substr(0, question));
    auto socket = decoded(rest.substr(question + 1 + parameter.size()));
    if (!name || !socket || !socket->starts_with('/')) {
        return std::nullopt;
    }
    return LocalServer{std::move(*socket), std::move(*name)};
}

} // namespace domus::block
