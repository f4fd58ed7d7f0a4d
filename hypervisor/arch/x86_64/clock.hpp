// Start-up of the clock: after apic_start().
#pragma once

namespace domus::hv::arch {
void clock_start();
}
