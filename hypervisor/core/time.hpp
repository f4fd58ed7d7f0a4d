// Guests' view of time: clock pages (vcpu_time_info), wall clock (shared_info), runstate copies, vcpu timers.
// System time is the TSC scaled by one factor for the whole machine. Source: <xen/xen.h>, <xen/vcpu.h>.
// Lock: the wall clock's own (Rank::Control is held by whoever sets it); a vcpu's pages belong to the CPU it runs on.
#pragma once

#include "hypervisor/core/vcpu.hpp"

namespace domus::hv {

// Bring vcpu_info's clock page up to date if the calibration changed since. Any address space.
void update_time_page(Vcpu&);
// Write the copies at guest addresses, of time and runstate. The vcpu is current and its address space loaded.
// A copy that cannot be written (not mapped just now) is left out; the next switch tries again.
void update_guest_time_copy(Vcpu&);
void update_guest_runstate_copy(Vcpu&);

// Change of state: close the books of the present one. `state`: RUNSTATE_*. Under the run queue's lock.
void set_runstate(Vcpu&, int state, u64 now);
// A snapshot as VCPUOP_get_runstate_info gives it, counted up to now.
vcpu_runstate_info_t runstate_now(const Vcpu&);

// Wall clock. At start-up from the machine's clock; later dom0 sets it: `ns_since_epoch` was true at `system_time`.
void wall_clock_start();
void set_wall_clock(u64 ns_since_epoch, u64 system_time);
// Write it, with the domain's time offset, into its shared_info.
void update_wall_clock(Domain&);

// A vcpu's timers: call when it is made and before it is freed.
void start_vcpu_timers(Vcpu&);
void stop_vcpu_timers(Vcpu&);
// One shot at absolute system time: VIRQ_TIMER. Replaces an earlier one.
void set_oneshot_timer(Vcpu&, u64 deadline);
// A tick every `period` ns while the vcpu runs; 0: none. It does not wake a blocked vcpu.
void set_periodic_timer(Vcpu&, u64 period);
// Scheduler: the vcpu starts and stops running (no lock held).
void resume_periodic_timer(Vcpu&, u64 now);
void suspend_periodic_timer(Vcpu&);

} // namespace domus::hv
