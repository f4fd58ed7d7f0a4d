// The machine's end: power off, reboot, stop. Owner: nobody; called last.
#include "hypervisor/arch/x86_64/power.hpp"
#include "hypervisor/arch/iface/cpu.hpp"
#include "hypervisor/arch/x86_64/acpi.hpp"
#include "hypervisor/arch/x86_64/cpu.hpp"

namespace domus::hv::arch {
namespace {
constinit bool reboot_on_panic = true;
constexpr u16 sleep_enable = 1 << 13;
} // namespace

void set_reboot_on_panic(bool on) {
    reboot_on_panic = on;
}

void enter_sleep(u16 pm1a_value, u16 pm1b_value) {
    if (acpi().pm1a_control)
        out16(acpi().pm1a_control, pm1a_value | sleep_enable);
    if (acpi().pm1b_control)
        out16(acpi().pm1b_control, pm1b_value | sleep_enable);
}

void power_off() {
    if (acpi().soft_off_a != ~0u)
        enter_sleep(static_cast<u16>(acpi().soft_off_a << 10), static_cast<u16>(acpi().soft_off_b << 10));
    halt_forever();
}

void reboot_machine() {
    out8(0xcf9, 6); // PCI reset control
    for (u32 i = 0; i < 100000; ++i)
        pause();
    while (in8(0x64) & 2)
        pause();
    out8(0x64, 0xfe); // keyboard controller
    halt_forever();
}

void panic_halt() {
    if (reboot_on_panic)
        reboot_machine();
    halt_forever();
}

} // namespace domus::hv::arch
