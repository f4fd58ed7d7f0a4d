// The scheduler: which vcpu runs on this CPU, for how long; pausing and waking. Policy behind SchedPolicy.
// Lock: Rank::RunQueue per CPU, inside. The exit path calls choose_next(); everything else only marks and kicks.
// How it works and what the figures mean: docs/scheduling.md.
#pragma once

#include "hypervisor/base/result.hpp"
#include "hypervisor/core/vcpu.hpp"

namespace domus::hv {

void sched_start(); // start-up, before the first sched_add_idle: empty run queues
// Start-up of each CPU, from that CPU or for it: what it runs when there is nothing to run. The CPU counts as running
// `idle` from now on. The idle vcpu belongs to arch and is never stopped, queued or freed.
void sched_add_idle(CpuId, Vcpu& idle);

// Something to run for this CPU: returns the vcpu that shall run now (the idle vcpu if nothing is runnable).
// Called by arch's exit path with the current vcpu still loaded and no lock held; cheap when nothing changed. Does
// accounting and runstate, brings the next vcpu's clock page up to date, arms the slice timer.
// The caller switches context when the answer differs from `previous`: saves it, clears its `running`, loads the next
// one and calls switched_in().
Vcpu& choose_next(Vcpu& previous);

// The context switch is done and the vcpu's address space is loaded: write the copies of time and runstate that live at
// guest virtual addresses (VCPUOP_register_runstate_memory_area, _vcpu_time_memory_area). Not for idle vcpus.
void switched_in(Vcpu&);

void stop(Vcpu&, Stop reason);  // takes effect at the vcpu's next exit path; kicks it if it runs elsewhere
void start(Vcpu&, Stop reason); // clears the reason; queues and preempts as the policy says

// sched_op block: stop unless an event is already pending and unmasked (no lost wake-up). Current vcpu only.
void block(Vcpu&);
// An event became pending for this vcpu: wake it if blocked (also out of poll), kick its CPU if it runs.
void notify(Vcpu&);

void pause_domain(Domain&); // counted; does not wait
void unpause_domain(Domain&);
void wait_until_stopped(Domain&); // no vcpu of it runs any more (others' CPUs are kicked); not from its own vcpu
void pause_vcpu(Vcpu&);           // counted, waits; not the current vcpu
void unpause_vcpu(Vcpu&);

// The current vcpu lets others go first (sched_op yield).
void yield_current();
// The vcpu polls no longer (sched_op poll); harmless if it did not. Its time limit may still fire, and finds nothing.
void end_poll(Vcpu&);
// CPUs the vcpu may run on. Err::Inval: none of them exists.
Result<void> set_affinity(Vcpu&, arch::CpuMask);
arch::CpuMask online_cpus();
// ns this CPU has spent in its idle vcpu (XENPF_getidletime, sysctl getcpuinfo).
u64 idle_time(CpuId);
// ns the vcpu has run so far, up to now.
u64 run_time_of(const Vcpu&);

} // namespace domus::hv
