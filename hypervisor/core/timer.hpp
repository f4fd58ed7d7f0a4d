// One-shot software timers over each CPU's hardware deadline. Lock: Rank::Timers of the timer's CPU, inside.
// Handlers run on that CPU's exit path with no lock held and may re-arm. The queue is an intrusive pairing heap, so
// that arming needs no memory and cannot fail.
#pragma once

#include "hypervisor/arch/iface/cpu.hpp"
#include "hypervisor/base/result.hpp"

namespace domus::hv {

struct Timer {
    void (*handler)(void* context) = nullptr;
    void* context = nullptr;
    u64 deadline = 0; // system time in ns
    u32 cpu = 0;
    bool armed = false;
    Timer* child = nullptr;    // first of those that are due later
    Timer* sibling = nullptr;  // next child of the same parent
    Timer* previous = nullptr; // previous sibling, or the parent of a first child
};

// Arm (or move) a timer on the current CPU. A deadline in the past fires at once on the exit path.
// Two CPUs may not arm one timer at the same time: its owner (a vcpu, a run queue) sees to that.
void arm(Timer&, Nanoseconds deadline);
void disarm(Timer&); // after it returns the handler does not run any more (unless called from the handler itself)
bool is_armed(const Timer&);

// Exit path: run what is due on this CPU, then program the hardware for the next one.
void run_due_timers();

} // namespace domus::hv
