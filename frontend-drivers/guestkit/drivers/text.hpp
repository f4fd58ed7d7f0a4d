// Short text without a heap: paths and numbers for xenstore. Header-only. Text that does not fit is cut; full() says
// so.
#pragma once

#include "hypervisor/base/types.hpp"

#include <optional>
#include <string_view>

namespace domus::guest {

template <usize N = 128>
class Text {
public:
    Text() = default;
    // Pieces one after the other: strings, and numbers in decimal.
    template <class... Pieces>
    explicit Text(const Pieces&... pieces) {
        (add(pieces), ...);
    }
    Text& add(std::string_view more) {
        for (const char c : more) {
            if (size_ == N)
                return *this;
            bytes_[size_++] = c;
        }
        return *this;
    }
    Text& add(u64 number) {
        char reversed[20];
        usize count = 0;
        do
            reversed[count++] = static_cast<char>('0' + number % 10);
        while (number /= 10);
        while (count > 0)
            add(std::string_view(&reversed[--count], 1));
        return *this;
    }
    template <usize M>
    Text& add(const Text<M>& more) {
        return add(more.view());
    }
    std::string_view view() const { return {bytes_, size_}; }
    operator std::string_view() const { return view(); }
    bool full() const { return size_ == N; }

private:
    char bytes_[N];
    usize size_ = 0;
};

// An unsigned decimal number with nothing around it, or nothing.
inline std::optional<u64> to_number(std::string_view text) {
    u64 number = 0;
    for (const char c : text) {
        if (c < '0' || c > '9' || number > ~u64{0} / 10 - 1)
            return {};
        number = number * 10 + static_cast<u64>(c - '0');
    }
    if (text.empty())
        return {};
    return number;
}

} // namespace domus::guest
