// Run-to-completion tasks: coroutines that run until they wait for an Event, and a scheduler that is a list of those
// that may go on. Compiles freestanding and hosted. No lock: one vcpu, and events are delivered only while nothing
// runs.
//
//     Task<Result<u64>> size(Disk& disk) { co_await disk.flush(); co_return disk.sectors(); }
//     scheduler.start(serve(disk));        // a task of its own, until it returns
//
// A Task runs when it is awaited, on the stack of who awaits it; if it never waits, nothing is switched. Freestanding,
// frames come from a fixed arena (task.cpp) and the guest gives up when it is used up; hosted, from the heap.
#pragma once

#include "hypervisor/base/result.hpp"

#include <coroutine>
#include <optional>

namespace domus::guest {

// Ends everything: for what only a mistake in the guest itself can bring about. Each world has its own.
[[noreturn]] void give_up(const char* why);

void* take_coroutine_frame(usize bytes);
void give_coroutine_frame(void* frame, usize bytes) noexcept;

// Part of a circular list; leaves it when destroyed.
struct Link {
    Link *next = this, *previous = this;
    Link() = default;
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    ~Link() { leave(); }

    bool alone() const { return next == this; }
    void leave() {
        next->previous = previous;
        previous->next = next;
        next = previous = this;
    }
    void join_before(Link& other) {
        leave();
        previous = other.previous;
        next = &other;
        previous->next = next->previous = this;
    }
};

// A coroutine that waits or may go on. It lives in the coroutine's own frame.
struct Waiter : Link {
    std::coroutine_handle<> handle;
};

struct FrameFromArena {
    static void* operator new(usize bytes) { return take_coroutine_frame(bytes); }
    static void operator delete(void* frame, usize bytes) noexcept { give_coroutine_frame(frame, bytes); }
};

template <class T = void>
class Task;

struct TaskPromiseBase : FrameFromArena {
    std::coroutine_handle<> continuation = std::noop_coroutine();

    struct Final {
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
            return self.promise().continuation;
        }
        void await_resume() const noexcept {}
    };
    std::suspend_always initial_suspend() const noexcept { return {}; }
    Final final_suspend() const noexcept { return {}; }
    void unhandled_exception() { give_up("a task threw"); }
};

template <class T>
struct TaskPromise : TaskPromiseBase {
    std::optional<T> value;
    Task<T> get_return_object();
    template <class U>
    void return_value(U&& given) {
        value.emplace(std::forward<U>(given));
    }
    T take() { return std::move(*value); }
};
template <>
struct TaskPromise<void> : TaskPromiseBase {
    Task<void> get_return_object();
    void return_void() {}
    void take() {}
};

template <class T>
class [[nodiscard]] Task {
public:
    using promise_type = TaskPromise<T>;
    using Handle = std::coroutine_handle<promise_type>;

    explicit Task(Handle handle) : handle_(handle) {}
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, {})) {}
    Task& operator=(Task&&) = delete;
    ~Task() {
        if (handle_)
            handle_.destroy();
    }

    bool await_ready() {
        handle_.resume(); // to its end, or to its first wait
        return handle_.done();
    }
    void await_suspend(std::coroutine_handle<> continuation) { handle_.promise().continuation = continuation; }
    T await_resume() { return handle_.promise().take(); }

private:
    Handle handle_;
};

template <class T>
Task<T> TaskPromise<T>::get_return_object() {
    return Task<T>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}
inline Task<void> TaskPromise<void>::get_return_object() {
    return Task<void>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

class Scheduler {
public:
    Scheduler() = default;
    ~Scheduler(); // ends what still waits, as if it had never been started

    // Runs it to its first wait; it goes on from then by itself.
    void start(Task<void> task);
    // Runs what is ready, and what becomes ready by that. False: there was nothing.
    bool run();
    bool idle() const { return ready_.alone(); }
    void make_ready(Waiter& waiter) { waiter.join_before(ready_); }

private:
    struct Root;
    static Root follow(Scheduler& scheduler, Task<void> task);
    Link ready_, roots_;
};

// Something that happens: a port's event, a watch that fired, an answer. notify() lets all who wait go on. Who goes on
// looks again: an event carries nothing. No wake-up is lost between a look and a wait:
//   wait()        when nobody waited, the event was kept. Enough where nothing is awaited between look and wait.
//   after(seen)   returns at once when it has happened since count() said `seen`. For looks that themselves wait.
class Event {
public:
    explicit Event(Scheduler& scheduler) : scheduler_(scheduler) {}

    void notify() {
        ++count_;
        kept_ = waiters_.alone();
        while (!waiters_.alone())
            scheduler_.make_ready(static_cast<Waiter&>(*waiters_.next));
    }
    u64 count() const { return count_; }

    struct Wait : Waiter {
        Event& event;
        bool ready;
        Wait(Event& e, bool r) : event(e), ready(r) {}
        bool await_ready() const { return ready; }
        void await_suspend(std::coroutine_handle<> self) {
            handle = self;
            join_before(event.waiters_);
        }
        void await_resume() const {}
    };
    Wait wait() { return Wait(*this, std::exchange(kept_, false)); }
    Wait after(u64 seen) { return Wait(*this, count_ != seen); }

private:
    Scheduler& scheduler_;
    Link waiters_;
    u64 count_ = 0;
    bool kept_ = false;
};

// One user at a time, for what takes several waits: co_await lock.take(); ... lock.give();
class TaskLock {
public:
    explicit TaskLock(Scheduler& scheduler) : free_(scheduler) {}
    Task<void> take() {
        while (taken_)
            co_await free_.wait();
        taken_ = true;
    }
    void give() {
        taken_ = false;
        free_.notify();
    }

private:
    Event free_;
    bool taken_ = false;
};

// TRY for coroutines, as statements (g++ 12 has no co_await inside a statement expression): co_return a Result's error,
// or go on, with `name` for its value.
#define CO_CHECK(...)                                                                                                  \
    do {                                                                                                               \
        auto co_check_result_ = (__VA_ARGS__);                                                                         \
        if (!co_check_result_) [[unlikely]]                                                                            \
            co_return co_check_result_.error();                                                                        \
    } while (false)
#define CO_LET(name, ...)                                                                                              \
    auto name##_result_ = (__VA_ARGS__);                                                                               \
    if (!name##_result_) [[unlikely]]                                                                                  \
        co_return name##_result_.error();                                                                              \
    auto& name = name##_result_.value()

} // namespace domus::guest
