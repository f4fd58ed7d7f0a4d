// Spinlocks that own their data. Guarded<T, Rank> gives access to its T only inside with() or lock().
// The hypervisor runs with interrupts off, so a lock is never taken twice by way of an interrupt.
// While spinning, a CPU keeps serving flush requests of others (arch/iface/cpu.hpp: relax()).
#pragma once

#include "hypervisor/arch/iface/cpu.hpp"
#include "hypervisor/base/ranks.hpp"
#include "hypervisor/base/types.hpp"

#include <atomic>
#include <utility>

namespace domus {

class Spinlock {
public:
    explicit constexpr Spinlock(Rank rank) : rank_(rank) {}
    Spinlock(const Spinlock&) = delete;
    Spinlock& operator=(const Spinlock&) = delete;

    void lock() {
        hv::arch::rank_enter(rank_);
        while (taken_.exchange(true, std::memory_order_acquire)) {
            while (taken_.load(std::memory_order_relaxed))
                hv::arch::relax();
        }
    }
    void unlock() {
        taken_.store(false, std::memory_order_release);
        hv::arch::rank_leave(rank_);
    }
    // The second of two locks of one rank, whose order the caller has settled (lower domain id first).
    void lock_second() {
        while (taken_.exchange(true, std::memory_order_acquire))
            hv::arch::relax();
    }
    void unlock_second() { taken_.store(false, std::memory_order_release); }
    bool is_taken() const { return taken_.load(std::memory_order_relaxed); }

private:
    std::atomic<bool> taken_{false};
    Rank rank_;
};

class [[nodiscard]] LockHolder {
public:
    explicit LockHolder(Spinlock& lock) : lock_(lock) { lock_.lock(); }
    ~LockHolder() { lock_.unlock(); }
    LockHolder(const LockHolder&) = delete;

private:
    Spinlock& lock_;
};

template <class T, Rank R>
class Guarded {
public:
    template <class... Args>
    explicit constexpr Guarded(Args&&... args) : data_(std::forward<Args>(args)...) {}

    template <class Body>
    decltype(auto) with(Body&& body) {
        LockHolder holder(lock_);
        return std::forward<Body>(body)(data_);
    }

    class [[nodiscard]] Access {
    public:
        explicit Access(Guarded& of) : of_(of) { of_.lock_.lock(); }
        ~Access() { of_.lock_.unlock(); }
        Access(const Access&) = delete;
        T& operator*() const { return of_.data_; }
        T* operator->() const { return &of_.data_; }

    private:
        Guarded& of_;
    };
    Access lock() { return Access(*this); }

    // Both locked, `order` deciding which comes first; a and b may be the same object.
    template <class Body>
    friend decltype(auto) lock_pair(Guarded& a, Guarded& b, bool a_first, Body&& body) {
        if (&a == &b) {
            LockHolder holder(a.lock_);
            return body(a.data_, b.data_);
        }
        Guarded& first = a_first ? a : b;
        Guarded& second = a_first ? b : a;
        LockHolder holder(first.lock_);
        struct Second {
            Spinlock& lock;
            explicit Second(Spinlock& l) : lock(l) { lock.lock_second(); }
            ~Second() { lock.unlock_second(); }
        } second_holder(second.lock_);
        return body(a.data_, b.data_);
    }

    // For start-up and for readers that tolerate a torn view (dump on panic). Say why at each use.
    T& unguarded() { return data_; }

private:
    Spinlock lock_{R};
    T data_;
};

} // namespace domus
