// Text formatting without a C library. Owner: no state. Callable from anywhere, panics included.
#include "hypervisor/core/format.hpp"

namespace domus::hv {
namespace {

struct Sink {
    std::span<char> buffer;
    usize used = 0;
    void put(char c) {
        if (used < buffer.size())
            buffer[used++] = c;
    }
    void put(std::string_view text) {
        for (char c : text)
            put(c);
    }
};

void put_number(Sink& sink, u64 value, unsigned base, unsigned min_digits) {
    char digits[20];
    unsigned count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    while (count < min_digits)
        digits[count++] = '0';
    while (count > 0)
        sink.put(digits[--count]);
}

void put_arg(Sink& sink, const FormatArg& arg, std::string_view spec) {
    if (arg.kind == FormatArg::Kind::Text)
        return sink.put(arg.text);
    if (spec == "x") {
        sink.put("0x");
        return put_number(sink, arg.number, 16, 1);
    }
    if (spec == "X")
        return put_number(sink, arg.number, 16, 16);
    u64 value = arg.number;
    if (arg.kind == FormatArg::Kind::Signed && static_cast<i64>(value) < 0) {
        sink.put('-');
        value = 0 - value;
    }
    put_number(sink, value, 10, 1);
}

} // namespace

std::string_view format_args(std::span<char> buffer, std::string_view pattern, std::span<const FormatArg> args) {
    Sink sink{buffer};
    usize next = 0;
    for (usize i = 0; i < pattern.size(); ++i) {
        const usize close = pattern[i] == '{' ? pattern.find('}', i) : std::string_view::npos;
        if (close == std::string_view::npos) {
            sink.put(pattern[i]);
            continue;
        }
        if (next < args.size())
            put_arg(sink, args[next++], pattern.substr(i + 1, close - i - 1));
        i = close;
    }
    return {buffer.data(), sink.used};
}

} // namespace domus::hv
