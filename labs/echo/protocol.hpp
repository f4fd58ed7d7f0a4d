// The echo device's protocol, as both halves know it. The frontend grants a page with a text and names the piece; the
// backend writes the text back in capital letters. Store: the frontend's ring-ref and event-channel, the backend's
// feature-echo.
#pragma once

#include <cstdint>

namespace domus::echo {

inline constexpr const char* frontend_kind = "echo";    // device/echo/ID
inline constexpr const char* backend_type = "lab-echo"; // backend/lab-echo/DOMID/ID

struct Request {
    std::uint32_t id;
    std::uint32_t reference; // grant of the page, writable for the backend
    std::uint16_t offset, length;
};

inline constexpr std::int16_t okay = 0, failed = -1;

struct Response {
    std::uint32_t id;
    std::int16_t status; // okay or failed
};

static_assert(sizeof(Request) == 12 && sizeof(Response) == 8);

} // namespace domus::echo
