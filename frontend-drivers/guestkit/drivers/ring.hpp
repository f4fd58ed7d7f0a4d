// The frontend's end of a shared ring (<xen/io/ring.h>): requests out, responses in, in the same slots. Header-only.
// Owner: a queue. No lock, one vcpu. The backend is another domain: its index is read once per look and checked, a
// response is copied out before it is judged.
//
// No wake-up is lost: each side writes its index, then a full barrier, then reads the other's.
//   push(): req_prod = n;   BARRIER A;  read req_event      backend:  req_event = n;  mb;  read req_prod
//   arm():  rsp_event = n;  BARRIER B;  read rsp_prod       backend:  rsp_prod = n;   mb;  read rsp_event
#pragma once

#include "hypervisor/base/types.hpp"

#include <bit>
#include <cstring>
#include <optional>

namespace domus::guest {

template <class Request, class Response>
class FrontRing {
public:
    FrontRing() = default;
    // A new ring in zeroed pages side by side.
    FrontRing(void* pages, usize bytes) : shared_(static_cast<Shared*>(pages)) {
        size_ = static_cast<u32>(std::bit_floor((bytes - sizeof(Shared)) / sizeof(Slot)));
        shared_->req_event = shared_->rsp_event = 1;
    }

    u32 size() const { return size_; }
    u32 in_flight() const { return produced_ - consumed_; }
    bool full() const { return in_flight() == size_; }
    u32 produced() const { return produced_; }
    u32 consumed() const { return consumed_; }

    // The next request; the backend sees it after push(). Only while the ring is not full.
    void put(const Request& request) { std::memcpy(&slot(produced_++), &request, sizeof request); }

    // Shows all requests. True: the backend asked to be notified.
    bool push() {
        const u32 before = pushed_;
        pushed_ = produced_;
        __atomic_store_n(&shared_->req_prod, produced_, __ATOMIC_RELEASE);
        __atomic_thread_fence(__ATOMIC_SEQ_CST); // BARRIER A
        return produced_ - __atomic_load_n(&shared_->req_event, __ATOMIC_RELAXED) < produced_ - before;
    }

    // Copies the next response. Nothing: there is none, or the backend's index ran away (broken()).
    std::optional<Response> take() {
        if (waiting() == 0)
            return {};
        Response copy;
        std::memcpy(&copy, &slot(consumed_++), sizeof copy);
        __atomic_signal_fence(__ATOMIC_SEQ_CST); // the compiler must not look at the slot again
        return copy;
    }

    // Asks for an event with the next response. True: one is there already, do not wait.
    bool arm() {
        __atomic_store_n(&shared_->rsp_event, consumed_ + 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST); // BARRIER B
        return waiting() != 0;
    }

    // The backend showed more responses than there were requests: nothing in the ring can be trusted any more.
    bool broken() const { return broken_; }

private:
    struct Shared { // struct NAME_sring of <xen/io/ring.h>
        u32 req_prod, req_event, rsp_prod, rsp_event;
        u8 unused[48];
    };
    static_assert(sizeof(Shared) == 64);
    union Slot {
        Request request;
        Response response;
    };

    u32 waiting() {
        const u32 shown = __atomic_load_n(&shared_->rsp_prod, __ATOMIC_ACQUIRE) - consumed_;
        broken_ |= shown > pushed_ - consumed_;
        return broken_ ? 0 : shown;
    }
    Slot& slot(u32 index) const {
        return reinterpret_cast<Slot*>(reinterpret_cast<u8*>(shared_) + sizeof(Shared))[index & (size_ - 1)];
    }

    Shared* shared_ = nullptr;
    u32 size_ = 0, produced_ = 0, pushed_ = 0, consumed_ = 0;
    bool broken_ = false;
};

} // namespace domus::guest
