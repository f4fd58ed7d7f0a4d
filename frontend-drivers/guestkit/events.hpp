// Event channels of a mini guest, 2-level ABI (<xen/event_channel.h>). Handlers run in the upcall, events masked.
// FIFO guests replace the scan by set_event_scan().
#pragma once

#include "frontend-drivers/guestkit/hypercall.hpp"

namespace domus::guest {

using EventHandler = void (*)(u32 port);

void install_events();
// A handler for a port, below 4096; unmasks it. Without one, an event is only counted.
void on_event(u32 port, EventHandler handler);
u64 events_seen(u32 port); // upcalls that found this port pending
u64 upcalls_seen();
void set_event_scan(void (*scan)()); // called in the upcall with pending cleared; nullptr: the 2-level scan
void deliver_event(u32 port);        // counts and calls the handler; for a scan

// Port or negative errno.
long bind_virq(u32 virq, u32 vcpu = 0);
long bind_ipi(u32 vcpu);
long allocate_unbound(u16 remote = DOMID_SELF);
long bind_interdomain(u16 remote, u32 remote_port);
long close_port(u32 port);
long notify(u32 port);
long unmask_by_hypercall(u32 port);
void mask_port(u32 port);
void unmask_port(u32 port); // in memory, and by hypercall when it is pending
bool is_pending(u32 port);
void clear_pending(u32 port);

// Which vcpu runs this (its stack says so), and its part of shared_info.
u32 this_vcpu();
vcpu_info_t& this_vcpu_info();

// Upcalls of this vcpu. enable delivers what came meanwhile.
void mask_events();
void enable_events();
bool events_masked();
void poll_events(); // delivers what is pending to handlers, here and now, whether masked or not
void block();       // until an event is pending; enables events
// Waits until `*flag` differs from `old` or `nanoseconds` have gone by; true when it changed.
bool wait_for_change(const volatile u64* flag, u64 old, u64 nanoseconds);

} // namespace domus::guest
