// One piece of work at a time per guest. Owner: the engine. No lock: one thread, coroutines take turns.
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace domus::engine {

namespace asio = boost::asio;

class Turns {
public:
    class Held {
    public:
        Held(Turns* turns, std::uint16_t domid) : turns_(turns), domid_(domid) {}
        Held(Held&& other) noexcept : turns_(std::exchange(other.turns_, nullptr)), domid_(other.domid_) {}
        Held& operator=(Held&&) = delete;
        ~Held() {
            if (turns_)
                turns_->give_back(domid_);
        }

    private:
        Turns* turns_;
        std::uint16_t domid_;
    };

    /// Waits until nobody else works on `domid`. The turn ends with the returned object.
    asio::awaitable<Held> take(std::uint16_t domid) {
        asio::steady_timer turn(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
        while (busy_.contains(domid)) {
            const auto place = waiting_.emplace(domid, &turn);
            co_await turn.async_wait(asio::as_tuple(asio::use_awaitable));
            waiting_.erase(place);
        }
        busy_.insert(domid);
        co_return Held(this, domid);
    }

    bool is_busy(std::uint16_t domid) const { return busy_.contains(domid); }

private:
    void give_back(std::uint16_t domid) {
        busy_.erase(domid);
        const auto [first, last] = waiting_.equal_range(domid);
        for (auto place = first; place != last; ++place)
            place->second->cancel();
    }

    std::set<std::uint16_t> busy_;
    std::multimap<std::uint16_t, asio::steady_timer*> waiting_;
};

} // namespace domus::engine
