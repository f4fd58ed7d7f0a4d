// Messages waiting for one client: a byte stream with a limit and without needless repetition of events.
// Owner: a ring or socket session. Lock: none. No I/O.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <string_view>

#include "xenstore-lite/wire/codec.hpp"

namespace domus::xenstore::server {

class Outbox {
public:
    /// Queues a message; gives back its bytes, or nothing if an equal event is waiting already: the client has not
    /// seen any part of that one, so whatever it reads because of it is new enough.
    std::string append(const wire::Message& message) {
        std::string bytes = wire::encode(message);
        const bool event = message.type == XS_WATCH_EVENT;
        if (event && !events_.insert(bytes).second) {
            return {};
        }
        bytes_ += bytes.size();
        queue_.push_back({bytes, event});
        return bytes;
    }

    /// Bytes of an earlier life, whatever messages they are.
    void append_raw(std::string bytes) {
        if (!bytes.empty()) {
            bytes_ += bytes.size();
            queue_.push_back({std::move(bytes), false});
        }
    }

    /// Takes up to `limit` bytes off the front.
    std::string take(std::size_t limit) {
        std::string taken;
        while (!queue_.empty() && taken.size() < limit) {
            Item& item = queue_.front();
            if (item.event && sent_ == 0) {
                events_.erase(item.bytes);
            }
            const auto piece = std::string_view(item.bytes).substr(sent_, limit - taken.size());
            taken += piece;
            sent_ += piece.size();
            if (sent_ == item.bytes.size()) {
                queue_.pop_front();
                sent_ = 0;
            }
        }
        bytes_ -= taken.size();
        return taken;
    }

    /// All bytes, without taking them.
    std::string peek_all() const {
        std::string all;
        for (const auto& item : queue_) {
            all += item.bytes;
        }
        return all.substr(sent_);
    }

    std::size_t size() const { return bytes_; }
    bool empty() const { return bytes_ == 0; }
    void clear() { *this = Outbox(); }

private:
    struct Item {
        std::string bytes;
        bool event;
    };
    std::deque<Item> queue_;
    std::size_t sent_ = 0; // bytes of the front item that are gone already
    std::size_t bytes_ = 0;
    std::set<std::string> events_; // waiting events of which nothing was sent yet
};

} // namespace domus::xenstore::server
