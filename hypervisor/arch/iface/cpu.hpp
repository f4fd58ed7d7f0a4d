// What a CPU can do, as declarations. Implemented by arch/x86_64 and by tests/fake.
#pragma once

#include "hypervisor/base/ranks.hpp"
#include "hypervisor/base/types.hpp"

namespace domus::hv {
struct Vcpu;
}

namespace domus::hv::arch {

inline constexpr u32 max_cpus = 64;
using CpuMask = u64; // bit n: CPU n

CpuId this_cpu();
u32 cpu_count();

// Spin-wait hint; also serves flush requests of other CPUs, so that waiting for a lock cannot deadlock with them.
void relax();

// Lock order check, per CPU. A violation panics in debug builds.
void rank_enter(Rank);
void rank_leave(Rank);

// The vcpu that runs on this CPU (the idle vcpu never makes hypercalls, but is a valid answer in interrupts).
Vcpu& current_vcpu();

// Ask another CPU (or this one) to pass through its exit path soon: pending work or a pending event there.
void kick(CpuId);

// Let waiting interrupts in for a moment. They only note themselves as pending (no locks, no guest state).
void take_interrupts();

// Work waits for this CPU's exit path (an interrupt noted itself, a timer is due, a reschedule is wanted).
bool has_pending_work();

[[noreturn]] void panic_halt(); // after the panic message: stop, or reboot by option
[[noreturn]] void power_off();  // ACPI or emulator; the machine ends here
[[noreturn]] void reboot_machine();

} // namespace domus::hv::arch
