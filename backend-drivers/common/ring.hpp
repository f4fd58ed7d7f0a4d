// The backend's end of a shared ring (xen/io/ring.h): requests in, responses out, in the same slots.
// Owner: a queue. No lock, one thread. Header-only. The page is written by a guest that may be hostile:
//   - a request is copied out exactly once (take()); what is judged and used is the copy,
//   - the guest's producer index is read once per look and checked; one that runs away throws RingError,
//   - rsp_prod and the indices kept here are never read back from the page.
//
// No wake-up is lost, because each side writes its index, then a full barrier, then reads the other's:
//   arm(n):    req_event = cons + n;  BARRIER A;  read req_prod       frontend:  req_prod = n;  mb;  read req_event
//   publish(): rsp_prod = n;          BARRIER B;  read rsp_event      frontend:  rsp_event = n; mb;  read rsp_prod
// A pairs with the frontend's mb between its req_prod and req_event, B with the one between its rsp_event and rsp_prod.
// Whichever side is second sees the other's write. Slots: the acquire load of req_prod pairs with the frontend's wmb
// before it, the release store of rsp_prod with the frontend's rmb after it.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <type_traits>

#include <fmt/format.h>

namespace domus::backend {

/// The frontend broke the ring's protocol; the device is closed for it.
struct RingError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Indices run freely and wrap.
using RingIndex = std::uint32_t;

template <class Request, class Response>
class BackRing {
    static_assert(std::is_trivially_copyable_v<Request> && std::is_trivially_copyable_v<Response>);

public:
    BackRing() = default;
    /// A ring in `bytes` bytes of mapped pages, side by side. Goes on at `consumed` and `produced`: 0 for a new ring.
    BackRing(void* pages, std::size_t bytes, RingIndex consumed = 0, RingIndex produced = 0)
        : shared_(static_cast<Shared*>(pages)), size_(entries_in(bytes)), consumed_(consumed), produced_(produced),
          published_(produced) {}

    /// Entries of a ring in so many bytes: the greatest power of two that fits behind the indices.
    static constexpr RingIndex entries_in(std::size_t bytes) {
        return static_cast<RingIndex>(std::bit_floor((bytes - sizeof(Shared)) / sizeof(Slot)));
    }

    RingIndex size() const { return size_; }
    RingIndex consumed() const { return consumed_; }
    RingIndex produced() const { return produced_; } ///< responses put, published or not
    RingIndex published() const { return published_; }
    RingIndex in_flight() const { return consumed_ - produced_; }

    /// Requests that wait to be taken. Throws RingError when the producer is further than answered slots allow.
    RingIndex waiting() const {
        const RingIndex producer = std::atomic_ref(shared_->req_prod).load(std::memory_order_acquire);
        if (producer - produced_ > size_ || producer - consumed_ > size_) {
            throw RingError(
                fmt::format("its ring's producer index ran away: {} requests at {}, {} answered, {} entries", producer,
                            consumed_, produced_, size_));
        }
        return producer - consumed_;
    }

    /// Copies the next request without consuming it; only after waiting() said that there is one.
    void peek(Request& copy) const {
        std::memcpy(&copy, &slot(consumed_), sizeof copy);
        std::atomic_signal_fence(std::memory_order_seq_cst); // the compiler must not look at the slot again
    }
    void consume() { ++consumed_; }
    /// peek() and consume().
    void take(Request& copy) {
        peek(copy);
        consume();
    }

    /// Writes the next response; the frontend sees it after publish(). At most one for each request taken.
    void put(const Response& response) { std::memcpy(&slot(produced_++), &response, sizeof response); }

    /// Shows all responses to the frontend. True: it asked to be notified.
    bool publish() {
        const RingIndex before = published_;
        published_ = produced_;
        std::atomic_ref(shared_->rsp_prod).store(produced_, std::memory_order_release);
        std::atomic_thread_fence(std::memory_order_seq_cst); // BARRIER B
        const RingIndex wanted = std::atomic_ref(shared_->rsp_event).load(std::memory_order_relaxed);
        return produced_ - wanted < produced_ - before;
    }

    /// Asks to be notified when `wanted` requests are there. True: they are already, do not wait.
    bool arm(RingIndex wanted = 1) {
        std::atomic_ref(shared_->req_event).store(consumed_ + wanted, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_seq_cst); // BARRIER A
        return waiting() >= wanted;
    }

    /// rsp_prod as it stands in the page: what an earlier process showed, if the frontend left it alone. For resuming.
    static RingIndex shown_in(const void* pages) {
        return std::atomic_ref(const_cast<RingIndex&>(static_cast<const Shared*>(pages)->rsp_prod)).load();
    }

private:
    struct Shared { // struct NAME_sring of xen/io/ring.h
        RingIndex req_prod, req_event, rsp_prod, rsp_event;
        std::uint8_t unused[48];
    };
    static_assert(sizeof(Shared) == 64);
    union Slot {
        Request request;
        Response response;
    };

    Slot& slot(RingIndex index) const {
        return reinterpret_cast<Slot*>(reinterpret_cast<std::byte*>(shared_) + sizeof(Shared))[index & (size_ - 1)];
    }

    Shared* shared_ = nullptr;
    RingIndex size_ = 0, consumed_ = 0, produced_ = 0, published_ = 0;
};

} // namespace domus::backend
