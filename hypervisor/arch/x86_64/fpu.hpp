// Moving FPU state between vcpus (see fpu.cpp).
#pragma once

#include "hypervisor/core/vcpu.hpp"

namespace domus::hv::arch {
void fpu_start();
void fpu_switch_in(Vcpu&); // its state is in the registers afterwards
void fpu_switch_out();     // the state may stay; TS is cleared for the hypervisor
void fpu_flush();          // what is in the registers goes to its owner's area
} // namespace domus::hv::arch
