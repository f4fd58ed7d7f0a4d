// Where a vcpu's vcpu_info lives: in shared_info, or in guest memory that VCPUOP_register_vcpu_info named.
// Lock: none; the vcpu is the caller's own or does not run.
#pragma once

#include "hypervisor/core/vcpu.hpp"

#include "hypervisor/base/result.hpp"

namespace domus::hv {

// Move it to a page of the guest's. Err::NxIo: it would cross the page or is not aligned; Err::Inval: done before, the
// vcpu may run, or not a writable page of the domain's.
Result<void> register_vcpu_info(Vcpu&, Mfn page, u32 offset);
// A dying domain: give the page back.
void release_vcpu_info(Vcpu&);

} // namespace domus::hv
