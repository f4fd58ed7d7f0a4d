// Privileged instructions that a PV kernel may use, done for it.
#pragma once

#include "hypervisor/base/result.hpp"
#include "hypervisor/core/vcpu.hpp"

namespace domus::hv {

// After #GP(0) in guest mode. True: the instruction was done and rip is behind it, or it is to be run again (rip is
// where it was; a load of CR3 whose tables are being validated).
bool emulate_privileged(Vcpu&, GuestRegs&);

// After #UD: `ud2; .ascii "xen"; cpuid`, the forced emulation prefix of <xen/arch-x86/xen.h>. True: it was that.
bool emulate_forced_cpuid(Vcpu&, GuestRegs&);

// What CPUID tells this domain (pv/cpuid.cpp).
struct CpuidAnswer {
    u32 eax, ebx, ecx, edx;
};
CpuidAnswer guest_cpuid(const Vcpu&, u32 leaf, u32 subleaf);
// Whether guests are told of ERMS (fast byte moves), which makes kernels copy and clear byte by byte. Start-up: option
// `erms=`, else as measured.
void offer_byte_moves(bool);

// Model-specific registers by allow-list (pv/msr.cpp). Err: bounce #GP.
Result<u64> guest_read_msr(Vcpu&, u32 number);
Result<void> guest_write_msr(Vcpu&, u32 number, u64 value);

// I/O ports (pv/ports.cpp): may this vcpu's present mode use them at all; the access itself.
bool may_use_ports(Vcpu&, u16 port, u32 bytes);
u32 guest_port_in(Vcpu&, u16 port, u32 bytes);
void guest_port_out(Vcpu&, u16 port, u32 bytes, u32 value);

} // namespace domus::hv
