// Translation flushes that guests ask for. Only the guest's own correctness depends on them: the hypervisor flushes by
// itself before a frame changes type or owner (flush_stale_translations). No lock.
#pragma once

#include "hypervisor/arch/iface/cpu.hpp"
#include "hypervisor/base/result.hpp"
#include "hypervisor/core/guest_memory.hpp"

namespace domus::hv {

struct Domain;

arch::CpuMask this_cpu_mask();
// The CPUs that may hold translations of the vcpus in a guest's bitmap (one bit per vcpu of the domain). Err::Fault.
Result<arch::CpuMask> cpus_of_vcpus(Domain&, GuestPtr<const void> bitmap);

void flush_for_guest(Domain&, arch::CpuMask);
void flush_address_for_guest(Domain&, arch::CpuMask, Vaddr);

} // namespace domus::hv
