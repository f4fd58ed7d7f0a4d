// arch/iface/cpu.hpp, clock.hpp and console.hpp on the fake machine.
#include "hypervisor/arch/iface/cpu.hpp"
#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/arch/iface/console.hpp"
#include "hypervisor/core/log.hpp"
#include "tests/fake/machine.hpp"

namespace domus::hv {
void panic_text(std::string_view text) {
    throw fake::Stopped("panic: " + std::string(text));
}
} // namespace domus::hv

namespace domus::hv::arch {

using fake::machine;

CpuId this_cpu() {
    return CpuId(machine().this_cpu());
}
u32 cpu_count() {
    return fake::cpus;
}
void relax() {
    throw fake::Stopped("a CPU spins: in one thread that is for ever");
}
void rank_enter(Rank rank) {
    auto& held = machine().ranks[machine().this_cpu()];
    if (!held.empty() && held.back() >= static_cast<int>(rank))
        throw fake::Stopped("lock of rank " + std::to_string(static_cast<int>(rank)) + " taken while one of rank " +
                            std::to_string(held.back()) + " is held");
    held.push_back(static_cast<int>(rank));
}
void rank_leave(Rank rank) {
    auto& held = machine().ranks[machine().this_cpu()];
    for (usize i = held.size(); i-- > 0;) {
        if (held[i] == static_cast<int>(rank)) {
            held.erase(held.begin() + static_cast<std::ptrdiff_t>(i));
            return;
        }
    }
}
Vcpu& current_vcpu() {
    return machine().current();
}
void kick(CpuId) {
    ++machine().kicks;
}
void take_interrupts() {}
bool has_pending_work() {
    return machine().question();
}
void panic_halt() {
    throw fake::Stopped("panic: " + machine().console);
}
void power_off() {
    throw fake::Stopped("power off");
}
void reboot_machine() {
    throw fake::Stopped("reboot");
}

Nanoseconds now() {
    return Nanoseconds(machine().now);
}
void set_deadline(Nanoseconds at) {
    machine().deadline = at.n;
}
u64 wall_clock_seconds_at_boot() {
    return 1'700'000'000;
}
TscScale tsc_scale() {
    return {.tsc_timestamp = 1, .system_time = 0, .tsc_to_system_mul = 1u << 31, .tsc_shift = 1};
}
u32 tsc_khz() {
    return 1'000'000;
}

void console_write(std::string_view bytes) {
    machine().console.append(bytes);
}

} // namespace domus::hv::arch
