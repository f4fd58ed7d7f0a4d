// A limit on what a guest sends: so many bytes in each interval, as xl's rate= and netback's `rate` node have it.
// Header-only, pure: time is given. Owner: a TxQueue.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace domus::net {

using Clock = std::chrono::steady_clock;

class RateLimit {
public:
    /// bytes in each interval. A packet larger than that may still pass, when the bucket has saved up for it.
    RateLimit(std::uint64_t bytes, std::chrono::microseconds interval, Clock::time_point now)
        : bytes_(bytes), most_(std::max<std::uint64_t>(bytes, 65536)), interval_(interval), credit_(bytes),
          refilled_(now) {}

    /// True: `size` bytes may go now, and are counted.
    bool take(std::uint64_t size, Clock::time_point now) {
        refill(now);
        if (size > credit_) {
            return false;
        }
        credit_ -= size;
        return true;
    }

    /// When the credit grows next.
    Clock::time_point next_refill() const { return refilled_ + interval_; }

private:
    void refill(Clock::time_point now) {
        const auto intervals = static_cast<std::uint64_t>(std::max<std::int64_t>((now - refilled_) / interval_, 0));
        refilled_ += interval_ * static_cast<std::int64_t>(intervals);
        // Full after this many, which keeps the product small.
        const std::uint64_t enough = most_ / std::max<std::uint64_t>(bytes_, 1) + 1;
        credit_ = std::max(credit_, std::min(most_, credit_ + bytes_ * std::min(intervals, enough)));
    }

    std::uint64_t bytes_, most_;
    std::chrono::microseconds interval_;
    std::uint64_t credit_;
    Clock::time_point refilled_;
};

} // namespace domus::net
