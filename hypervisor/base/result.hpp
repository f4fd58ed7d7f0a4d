// Result<T> and TRY: how a function fails. Header-only.
// Err holds Xen's errno values (<xen/errno.h>); they leave the hypervisor negated in rax.
#pragma once

#include "hypervisor/base/types.hpp"

#include <new>
#include <type_traits>
#include <utility>

namespace domus {

enum class Err : int {
    Perm = 1,
    NoEnt = 2,
    Srch = 3,
    Intr = 4,
    Io = 5,
    NxIo = 6,
    TooBig = 7,
    NoExec = 8,
    BadF = 9,
    Child = 10,
    Again = 11,
    NoMem = 12,
    Access = 13,
    Fault = 14,
    Busy = 16,
    Exist = 17,
    XDev = 18,
    NoDev = 19,
    IsDir = 21,
    Inval = 22,
    NoSpace = 28,
    RoFs = 30,
    MLink = 31,
    Dom = 33,
    Range = 34,
    NoSys = 38,
    NotEmpty = 39,
    NoData = 61,
    Time = 62, // the deadline has passed
    Overflow = 75,
    Restart = 85, // never reaches a guest: the hypercall's arguments were updated, run it again
    AddrInUse = 98,
    AddrNotAvail = 99,
    NoBufs = 105,
    IsConn = 106,
    NotConn = 107,
    TimedOut = 110,
    OpNotSupp = 95,
};

// Where a Result keeps its value or its error. Two of them, because clang 14 does not know destructors with `requires`.
template <class T, bool trivial = std::is_trivially_destructible_v<T>>
struct ResultStorage {
    union {
        T value_;
        Err error_;
    };
    bool ok_;
    constexpr ResultStorage(T value) : value_(std::move(value)), ok_(true) {}
    constexpr ResultStorage(Err error) : error_(error), ok_(false) {}
};
template <class T>
struct ResultStorage<T, false> {
    union {
        T value_;
        Err error_;
    };
    bool ok_;
    constexpr ResultStorage(T value) : value_(std::move(value)), ok_(true) {}
    constexpr ResultStorage(Err error) : error_(error), ok_(false) {}
    ResultStorage(ResultStorage&& other) noexcept : ok_(other.ok_) {
        if (ok_)
            new (&value_) T(std::move(other.value_));
        else
            error_ = other.error_;
    }
    ~ResultStorage() {
        if (ok_)
            value_.~T();
    }
};

template <class T>
class [[nodiscard]] Result : private ResultStorage<T> {
    using Storage = ResultStorage<T>;
    using Storage::error_;
    using Storage::ok_;
    using Storage::value_;

public:
    using value_type = T;
    constexpr Result(T value) : Storage(std::move(value)) {}
    constexpr Result(Err error) : Storage(error) {}
    constexpr Result(const Result&) = default;
    constexpr Result(Result&&) noexcept = default;
    Result& operator=(const Result&) = delete;
    constexpr explicit operator bool() const { return ok_; }
    constexpr bool ok() const { return ok_; }
    constexpr Err error() const { return error_; }
    constexpr T& value() & { return value_; }
    constexpr const T& value() const& { return value_; }
    constexpr T&& value() && { return std::move(value_); }
};

template <class T>
class [[nodiscard]] Result<T&> {
public:
    using value_type = T&;
    constexpr Result(T& value) : value_(&value) {}
    constexpr Result(Err error) : error_(error) {}
    constexpr explicit operator bool() const { return value_ != nullptr; }
    constexpr bool ok() const { return value_ != nullptr; }
    constexpr Err error() const { return error_; }
    constexpr T& value() const { return *value_; }

private:
    T* value_ = nullptr;
    Err error_{};
};

template <>
class [[nodiscard]] Result<void> {
public:
    using value_type = void;
    constexpr Result() = default;
    constexpr Result(Err error) : error_(error) {}
    constexpr explicit operator bool() const { return ok(); }
    constexpr bool ok() const { return error_ == Err{}; }
    constexpr Err error() const { return error_; }
    constexpr void value() const {}

private:
    Err error_{};
};

// The value of a Result, or return its error from the enclosing function.
#define TRY(expression)                                                                                                \
    ({                                                                                                                 \
        auto&& try_result_ = (expression);                                                                             \
        if (!try_result_) [[unlikely]]                                                                                 \
            return try_result_.error();                                                                                \
        std::forward<decltype(try_result_)>(try_result_).value();                                                      \
    })

} // namespace domus
