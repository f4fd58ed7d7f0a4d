// Text formatting without a C library: format_to(buffer, "port {} of d{}: {x}", port, id, flags).
// {} decimal or text, {x} hexadecimal with 0x, {X} sixteen hexadecimal digits. Never writes past the buffer.
#pragma once

#include "hypervisor/base/types.hpp"

#include <span>
#include <string_view>
#include <type_traits>

namespace domus::hv {

// One argument of a message, by value.
struct FormatArg {
    enum class Kind : u8 { Unsigned, Signed, Text } kind;
    u64 number = 0;
    std::string_view text{};

    template <class T>
    static FormatArg from(const T& v) {
        if constexpr (std::is_convertible_v<T, std::string_view>)
            return {Kind::Text, 0, std::string_view(v)};
        else if constexpr (std::is_pointer_v<T>)
            return {Kind::Unsigned, reinterpret_cast<u64>(v)};
        else if constexpr (std::is_enum_v<T>)
            return {Kind::Signed, static_cast<u64>(static_cast<i64>(v))};
        else if constexpr (std::is_integral_v<T>)
            return {std::is_signed_v<T> ? Kind::Signed : Kind::Unsigned, static_cast<u64>(v)};
        else
            return from(v.n); // Number<>: Mfn, PortNo ...
    }
};

// Returns what was written (cut off at the buffer's end).
std::string_view format_args(std::span<char> buffer, std::string_view pattern, std::span<const FormatArg> args);

template <class... Args>
std::string_view format_to(std::span<char> buffer, std::string_view pattern, const Args&... args) {
    const FormatArg list[sizeof...(Args) + 1] = {FormatArg::from(args)..., FormatArg{}};
    return format_args(buffer, pattern, std::span<const FormatArg>(list, sizeof...(Args)));
}

} // namespace domus::hv
