// The 16550 serial line: com1= and console= options (boot/options.cpp).
#pragma once

#include "hypervisor/base/types.hpp"

namespace domus::hv::arch {

void serial_start(u16 port, u32 baud);
void serial_enable_input(); // interrupt on input (IRQ 4 for COM1), after the I/O APIC is set up
bool serial_read(char& c);  // false: nothing waits

} // namespace domus::hv::arch
