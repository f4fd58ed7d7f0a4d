// Event channel ports of one domain. Owner: Domain. Lock: Rank::Events.
// Called from hypercalls and the exit path; never blocks; not from interrupt handlers.
#pragma once

#include "hypervisor/abi/xen.hpp"
#include "hypervisor/base/guarded.hpp"
#include "hypervisor/base/result.hpp"

namespace domus::hv {

struct Call;
struct Domain;
struct Vcpu;

struct EventState; // core/events.cpp: ports, FIFO arrays

class EventChannels {
public:
    explicit EventChannels(Domain& owner);
    ~EventChannels();

    void raise_virq(Vcpu&, u32 virq); // per-vcpu virqs (TIMER, DEBUG ...): no port bound: nothing happens
    void raise_global_virq(u32 virq); // this domain's handler of a global virq (DOM_EXC, CONSOLE ...)
    void send_local(PortNo);          // make a port of this domain pending
    void raise_pirq(u32 pirq);        // the port bound to a physical interrupt (core/pirq.hpp)
    Result<bool> is_pending(PortNo);  // for sched_op poll. Err::Inval: no such port

    // A dying domain (Life::Dying is set already, so that no port can be opened any more): closes some ports, peers'
    // ends become unbound, the FIFO's frames are given back at the end. True: done. Each call's work is bounded.
    bool close_some();
    void close_all() {
        while (!close_some())
            continue;
    }

    // register_vcpu_info moved v.info: events that were marked in the old place are shown in the new one.
    void on_vcpu_info_moved(Vcpu& v);

    Domain& owner() const { return owner_; }
    EventState* state() const { return state_; } // nullptr: there was no memory for it (creation must check)

private:
    Domain& owner_;
    EventState* state_;
};

// To whoever handles it: dom0, or the domain that domctl set_virq_handler named.
void raise_global_virq_of_machine(u32 virq);
// domctl set_virq_handler. Err::Inval: not a global virq; Err::Busy: another living domain handles it.
Result<void> set_global_virq_handler(Domain&, u32 virq);
bool is_global_virq(u32 virq);

// Does this vcpu have an event pending, unmasked? (For block and the exit path.) Hot: vcpu_info bytes only.
bool has_pending_event(const Vcpu&);

// __HYPERVISOR_event_channel_op. Source: <xen/event_channel.h>; errors in docs/events-and-grants.md.
Result<i64> event_channel_op(Call&, i32 command, u64 argument);

} // namespace domus::hv
