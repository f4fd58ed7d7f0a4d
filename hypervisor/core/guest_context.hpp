// What the core asks of the PV part about a vcpu's guest-visible state. Declared here and implemented by pv/ (core does
// not include pv's headers); hosted tests implement them in their fake. Called with Rank::Control held and the vcpu not
// running, unless said otherwise.
#pragma once

#include "hypervisor/core/hypercall.hpp"

namespace domus::hv {

// A vcpu is being made: give it its FPU area and descriptor window. Err::NoMem.
Result<void> create_guest_context(Vcpu&);
// A vcpu is being freed: take back what create_guest_context gave. References to guest memory are gone by then.
void destroy_guest_context(Vcpu&);
// A dying domain's vcpu: drop its references to guest memory (page-table roots, GDT and LDT frames).
// Err::Restart: preempted, call again. Idempotent.
Result<void> release_guest_context(Call&, Vcpu&);

// VCPUOP_initialise and domctl setvcpucontext: judge every field, then take it over. Err::Inval, Err::Busy,
// Err::Restart. VGCF_online is the caller's business.
Result<void> set_guest_context(Vcpu&, const vcpu_guest_context_t&);
// What a builder calls: set_guest_context, and all else that a context means: the vcpu counts as initialised, it is up
// if VGCF_online says so, its clocks are written. Errors as set_guest_context. Implemented by core/domain_create.cpp.
Result<void> enter_guest_context(Vcpu&, const vcpu_guest_context_t&);

// The state as set_guest_context would take it (all fields written).
void get_guest_context(const Vcpu&, vcpu_guest_context_t&);

// Write the hypercall stubs into a page (4096 bytes, zeroed by the caller).
void fill_hypercall_page(u8* page);

} // namespace domus::hv
