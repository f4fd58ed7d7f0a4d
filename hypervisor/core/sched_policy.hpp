// The seam between mechanism (sched.cpp: states, locks, accounting) and policy (sched_fair.cpp: who goes first).
// A policy works on one CPU's run queue under its lock (Rank::RunQueue), never blocks and never calls back.
// A table of functions rather than virtual ones: a freestanding image has no run-time support for those.
#pragma once

#include "hypervisor/core/vcpu.hpp"

#include <string_view>

namespace domus::hv {

inline constexpr u64 never = ~u64{0}; // no deadline

// The waiting vcpus of one CPU. The running one is not in the list.
struct RunQueue {
    Vcpu* current = nullptr; // runs now, maybe the idle vcpu
    Vcpu* idle = nullptr;
    Vcpu* first = nullptr; // waiting, in the policy's order, by SchedUnit::next
    u32 waiting = 0;
    u64 floor = 0;           // policy: the least virtual time in force; never goes back
    bool reschedule = false; // choose_next shall choose anew
    bool retime = false;     // choose_next shall only arm the slice timer anew
    u64 slice_end = never;   // what the slice timer is armed for
};

enum class Enqueue : u8 { Woken, Preempted, Yielded };

struct SchedPolicy {
    std::string_view name;
    void (*enqueue)(RunQueue&, Vcpu&, Enqueue why);
    void (*remove)(RunQueue&, Vcpu&);                   // it waits no longer (stopped, or moves to another CPU)
    Vcpu* (*pick)(RunQueue&, u64 now);                  // takes the next one out; nullptr: nobody may run
    void (*charge)(RunQueue&, Vcpu&, u64 ran, u64 now); // it ran for that many ns up to now
    bool (*preempts)(const RunQueue&, const Vcpu& woken, const Vcpu& running); // both are charged up to now
    u64 (*slice_end)(const RunQueue&, const Vcpu& chosen, u64 now); // system time to choose anew at; never: no need
};

extern const SchedPolicy fair_policy; // sched_fair.cpp

} // namespace domus::hv
