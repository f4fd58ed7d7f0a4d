// Software timers: one pairing heap per CPU, earliest deadline at the root. Owner: each CPU its own queue.
// Lock: Rank::Timers of that CPU. Called by the scheduler, vcpu timers, watchdogs and the exit path; not from interrupt
// handlers. Must not call a handler with the lock held.
#include "hypervisor/core/timer.hpp"

#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/base/guarded.hpp"

#include <array>
#include <atomic>

namespace domus::hv {
namespace {

struct Queue {
    Timer* root = nullptr;
    bool firing = false; // run_due_timers is at work and programs the hardware itself at its end
};

struct CpuTimers {
    constexpr CpuTimers() = default; // no aggregate: Guarded has an explicit constructor
    Guarded<Queue, Rank::Timers> queue;
    std::atomic<Timer*> running{nullptr}; // its handler runs now
};

constinit std::array<CpuTimers, arch::max_cpus> timers{};

// One of two heaps becomes the other's first child.
Timer* meld(Timer* a, Timer* b) {
    if (!a || !b)
        return a ? a : b;
    if (b->deadline < a->deadline)
        std::swap(a, b);
    b->previous = a;
    b->sibling = a->child;
    if (a->child)
        a->child->previous = b;
    a->child = b;
    return a;
}

// The children of a removed node as one heap: pairs from left to right, then those together (iterative: a guest can
// make long lists, and the stack is short).
Timer* merge_children(Timer* child) {
    Timer* pairs = nullptr;
    while (child) {
        Timer* a = child;
        Timer* b = a->sibling;
        child = b ? b->sibling : nullptr;
        a->sibling = a->previous = nullptr;
        if (b)
            b->sibling = b->previous = nullptr;
        Timer* pair = meld(a, b);
        pair->sibling = pairs;
        pairs = pair;
    }
    Timer* heap = nullptr;
    while (pairs) {
        Timer* rest = pairs->sibling;
        pairs->sibling = nullptr;
        heap = meld(heap, pairs);
        pairs = rest;
    }
    if (heap)
        heap->previous = nullptr;
    return heap;
}

void insert(Queue& queue, Timer& timer) {
    timer.child = timer.sibling = timer.previous = nullptr;
    timer.armed = true;
    queue.root = meld(queue.root, &timer);
}

void remove(Queue& queue, Timer& timer) {
    Timer* below = merge_children(timer.child);
    if (queue.root == &timer) {
        queue.root = below;
    } else {
        if (timer.previous->child == &timer)
            timer.previous->child = timer.sibling;
        else
            timer.previous->sibling = timer.sibling;
        if (timer.sibling)
            timer.sibling->previous = timer.previous;
        queue.root = meld(queue.root, below);
    }
    timer.child = timer.sibling = timer.previous = nullptr;
    timer.armed = false;
}

// Take a timer out of whichever CPU's queue it is in.
void unqueue(Timer& timer) {
    timers[timer.cpu].queue.with([&](Queue& queue) {
        if (timer.armed)
            remove(queue, timer);
    });
}

} // namespace

bool is_armed(const Timer& timer) {
    return timer.armed;
}

void arm(Timer& timer, Nanoseconds deadline) {
    const u32 cpu = arch::this_cpu().n;
    if (timer.armed && timer.cpu != cpu)
        unqueue(timer);
    timers[cpu].queue.with([&](Queue& queue) {
        const Timer* before = queue.root;
        const u64 earliest = before ? before->deadline : ~u64{0};
        if (timer.armed)
            remove(queue, timer);
        timer.cpu = cpu;
        timer.deadline = deadline.n;
        insert(queue, timer);
        if (!queue.firing && queue.root->deadline != earliest)
            arch::set_deadline(Nanoseconds(queue.root->deadline));
    });
}

void disarm(Timer& timer) {
    // The hardware is left as it is: one interrupt too many costs less than programming it on every disarm.
    if (timer.armed)
        unqueue(timer);
    // Its handler may have been taken out of the queue and run on its CPU just now.
    if (timer.cpu != arch::this_cpu().n) {
        while (timers[timer.cpu].running.load(std::memory_order_acquire) == &timer)
            arch::relax();
    }
    if (timer.armed) // that handler armed it again
        unqueue(timer);
}

void run_due_timers() {
    CpuTimers& mine = timers[arch::this_cpu().n];
    mine.queue.with([](Queue& queue) { queue.firing = true; });
    // What is due is judged against one reading of the clock: handlers re-arm later than it, so the loop ends.
    const u64 now = arch::now().n;
    while (true) {
        Timer* due = mine.queue.with([&](Queue& queue) -> Timer* {
            Timer* first = queue.root;
            if (first && first->deadline <= now) {
                mine.running.store(first, std::memory_order_release);
                remove(queue, *first);
                return first;
            }
            queue.firing = false;
            arch::set_deadline(Nanoseconds(first ? first->deadline : ~u64{0}));
            return nullptr;
        });
        if (!due)
            break;
        due->handler(due->context);
        mine.running.store(nullptr, std::memory_order_release);
    }
}

} // namespace domus::hv
