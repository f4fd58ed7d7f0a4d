// What a terminal and the daemon say to each other on the unix socket, before it carries the console's bytes.
//   terminal: "domus-console 1 attach DOMID replay\n"    (or "resume": without the recent output)
//   daemon:   "ok NAME\n", then the console both ways; or "error TEXT\n" and the end.
// The escape key is the terminal's affair and never crosses. Pure functions.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace domus::console {

inline constexpr char default_socket[] = "/run/domus/console.sock";
inline constexpr std::size_t longest_line = 512;

struct AttachRequest {
    std::uint16_t domid = 0;
    bool replay = true;
};

inline std::string format(const AttachRequest& request) {
    return "domus-console 1 attach " + std::to_string(request.domid) + (request.replay ? " replay\n" : " resume\n");
}

/// The request in a line without its end; nothing when it is not one.
inline std::optional<AttachRequest> parse_attach(std::string_view line) {
    constexpr std::string_view opening = "domus-console 1 attach ";
    if (line.substr(0, opening.size()) != opening) {
        return std::nullopt;
    }
    line.remove_prefix(opening.size());
    AttachRequest request;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), request.domid);
    line.remove_prefix(static_cast<std::size_t>(end - line.data()));
    if (error != std::errc{} || (line != " replay" && line != " resume")) {
        return std::nullopt;
    }
    request.replay = line == " replay";
    return request;
}

} // namespace domus::console
