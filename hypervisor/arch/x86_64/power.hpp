// Power control beyond arch/iface/cpu.hpp: options and the sleep state that dom0's ACPI code asks for.
#pragma once

#include "hypervisor/base/types.hpp"

namespace domus::hv::arch {
void set_reboot_on_panic(bool); // option noreboot
void enter_sleep(u16 pm1a_value, u16 pm1b_value);
} // namespace domus::hv::arch
