// Control operation scheduler_op: weight and cap of a domain, in the words of Xen's credit schedulers, so that their
// tools work. Weight: share against others (256 usual); cap: per cent of one CPU, 0 none. Lock: Rank::Control held.
#include "hypervisor/core/domctl.hpp"
#include "hypervisor/core/log.hpp"

namespace domus::hv::control {
namespace {

constexpr u16 leave_cap = 0xffff; // credit: do not change the cap

Result<void> put(Control& control, u16 weight, u16 cap, bool change_cap) {
    Domain& domain = *control.target;
    if (change_cap && cap > domain.max_vcpus * 100) {
        why(control.call.domain, "a cap of {} per cent is more than the domain's {} vcpus can use", cap,
            domain.max_vcpus);
        return Err::Inval;
    }
    if (weight != 0)
        domain.weight = weight;
    if (change_cap)
        domain.cap = cap;
    return {};
}

} // namespace

// Err::Inval: another scheduler, per-vcpu settings, or a cap that cannot be.
Result<void> scheduler(Control& control) {
    auto& op = control.op.u.scheduler_op;
    const Domain& domain = *control.target;
    const bool credit = op.sched_id == XEN_SCHEDULER_CREDIT;
    if (!credit && op.sched_id != XEN_SCHEDULER_CREDIT2)
        return Err::Inval;
    if (op.cmd == XEN_DOMCTL_SCHEDOP_putinfo) {
        if (credit)
            return put(control, op.u.credit.weight, op.u.credit.cap, op.u.credit.cap != leave_cap);
        return put(control, op.u.credit2.weight, op.u.credit2.cap, true);
    }
    if (op.cmd != XEN_DOMCTL_SCHEDOP_getinfo)
        return Err::Inval;
    const u16 weight = static_cast<u16>(domain.weight), cap = static_cast<u16>(domain.cap);
    if (credit)
        op.u.credit = {.weight = weight, .cap = cap};
    else
        op.u.credit2 = {.weight = weight, .cap = cap};
    control.answer = true;
    return {};
}

} // namespace domus::hv::control
