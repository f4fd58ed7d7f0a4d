// The inside of domctl: what each operation gets, and the operations by file. Lock: Rank::Control is held around every
// operation. Callers are privileged, yet may be buggy: every size, count and index is checked (ISOLATION, control
// operations).
#pragma once

#include "hypervisor/core/domain.hpp"

namespace domus::hv {

struct Control {
    Call& call;
    xen_domctl_t& op;    // the caller's structure, copied once
    Domain* target;      // the domain it names; nullptr for operations that name none
    bool answer = false; // copy `op` back to the caller

    bool names_caller() const { return target == &call.domain; }
    // The vcpu of the target. Err::Inval: out of range; Err::Srch: not made yet.
    Result<Vcpu*> vcpu(u32 id) const {
        if (id >= target->max_vcpus)
            return Err::Inval;
        if (!target->vcpus[id])
            return Err::Srch;
        return target->vcpus[id];
    }
};

using ControlHandler = Result<void> (*)(Control&);

namespace control {

// domctl_domain.cpp
Result<void> create_domain(Control&);
Result<void> destroy_domain(Control&);
Result<void> pause_domain(Control&);
Result<void> unpause_domain(Control&);
Result<void> resume_domain(Control&);
Result<void> get_domain_info(Control&);
Result<void> max_memory(Control&);
Result<void> set_handle(Control&);
Result<void> set_debugging(Control&);
Result<void> set_time_offset(Control&);
Result<void> set_virq_handler(Control&);
Result<void> node_affinity(Control&);
Result<void> get_node_affinity(Control&);

// domctl_vcpu.cpp
Result<void> max_vcpus(Control&);
Result<void> set_vcpu_context(Control&);
Result<void> get_vcpu_context(Control&);
Result<void> get_vcpu_info(Control&);
Result<void> set_vcpu_affinity(Control&);
Result<void> get_vcpu_affinity(Control&);

// domctl_sched.cpp
Result<void> scheduler(Control&);

// domctl_x86.cpp
Result<void> hypercall_page(Control&);
Result<void> set_address_size(Control&);
Result<void> get_address_size(Control&);
Result<void> set_tsc_info(Control&);
Result<void> get_tsc_info(Control&);
Result<void> frame_types(Control&);
Result<void> memory_permission(Control&);
Result<void> port_permission(Control&);
Result<void> irq_permission(Control&);
Result<void> set_cpu_policy(Control&);
Result<void> get_cpu_policy(Control&);
Result<void> cache_flush(Control&);

} // namespace control
} // namespace domus::hv
