// What the scheduler keeps in each vcpu. Owner: Vcpu. Lock: Rank::RunQueue of the CPU it is queued on.
#pragma once

#include "hypervisor/arch/iface/cpu.hpp"

#include <atomic>

namespace domus::hv {

struct Vcpu;

// Why a vcpu does not run; it is runnable when no bit is set.
enum class Stop : u32 {
    Blocked = 1,      // sched_op block or poll, ends with an event
    Down = 2,         // VCPUOP_down, or not yet up
    DomainPaused = 4, // Domain::pause_count > 0
    Paused = 8,       // Vcpu-level pause by the hypervisor (setvcpucontext ...)
    Dead = 16,
    ShutDown = 32, // the domain has shut down; ends with domctl resumedomain
};

struct SchedUnit {
    std::atomic<u32> stops{static_cast<u32>(Stop::Down)};
    std::atomic<u32> pause_count{0};
    Vcpu* next = nullptr; // in the run queue
    u64 virtual_time = 0; // weighted run time in ns: the least runs next
    u64 started = 0;      // system time in ns up to which its running was charged
    arch::CpuMask affinity = ~arch::CpuMask{0};
    arch::CpuMask soft_affinity = ~arch::CpuMask{0};
    arch::CpuMask saved_affinity = 0; // while sched_op pin_override is in force, else 0
    bool queued = false;
    bool yielded = false; // gave up the rest of its slice: goes behind the first that waits
};

constexpr u32 bit_of(Stop reason) {
    return static_cast<u32>(reason);
}

} // namespace domus::hv
