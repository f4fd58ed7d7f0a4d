// Error and Expected<T>: how image decoding fails, with a message a person can act on. Header-only, freestanding.
// No owner, no lock: values only. Used by hypervisor/boot (dom0) and by the domU builder.
// Must not allocate and must not throw: the hypervisor has neither a heap nor unwinding at this point.
#pragma once

#include "hypervisor/base/result.hpp"

#include <cstddef>

namespace domus::image {

// What was wrong, where, and what to do about it; always NUL-terminated, cut short when too long.
struct Error {
    char message[160] = {};
};

// A number to be shown in hexadecimal with 0x before it.
struct Hex {
    u64 value;
};

// Appends text and numbers to an Error's message.
class Writer {
public:
    explicit constexpr Writer(Error& error) : error_(error) {}

    constexpr void put(char c) {
        if (at_ + 1 < sizeof error_.message)
            error_.message[at_++] = c;
    }
    constexpr void add(const char* text) {
        while (*text)
            put(*text++);
    }
    constexpr void add(u64 value) { digits(value, 10); }
    constexpr void add(Hex hex) {
        add("0x");
        digits(hex.value, 16);
    }

private:
    constexpr void digits(u64 value, unsigned base) {
        char reversed[20] = {};
        unsigned count = 0;
        do {
            reversed[count++] = "0123456789abcdef"[value % base];
            value /= base;
        } while (value != 0);
        while (count > 0)
            put(reversed[--count]);
    }

    Error& error_;
    std::size_t at_ = 0;
};

// Makes an Error of its arguments: C strings, unsigned numbers (decimal) and Hex{}.
template <class... Parts>
constexpr Error fail(const Parts&... parts) {
    Error error;
    Writer writer(error);
    (writer.add(parts), ...);
    return error;
}

// A T or an Error. TRY() of hypervisor/base/result.hpp works on it.
template <class T>
class [[nodiscard]] Expected {
public:
    using value_type = T;
    constexpr Expected(T value) : value_(std::move(value)), ok_(true) {}
    constexpr Expected(const Error& error) : error_(error) {}
    constexpr explicit operator bool() const { return ok_; }
    constexpr bool ok() const { return ok_; }
    constexpr const Error& error() const { return error_; }
    constexpr T& value() & { return value_; }
    constexpr const T& value() const& { return value_; }
    constexpr T&& value() && { return std::move(value_); }
    constexpr T* operator->() { return &value_; }
    constexpr const T* operator->() const { return &value_; }
    constexpr T& operator*() { return value_; }
    constexpr const T& operator*() const { return value_; }

private:
    T value_{};
    Error error_{};
    bool ok_ = false;
};

} // namespace domus::image
