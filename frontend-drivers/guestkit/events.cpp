// Event channels; see events.hpp. Runs on any vcpu; the handler table is written by vcpu 0 before it is used.
#include "frontend-drivers/guestkit/events.hpp"

#include "frontend-drivers/guestkit/start.hpp"
#include "frontend-drivers/guestkit/time.hpp"
#include "frontend-drivers/guestkit/traps.hpp"

namespace domus::guest {
namespace {

constexpr u32 port_count = 4096;
EventHandler handlers[port_count];
u64 seen[port_count];
u64 upcalls;
void (*other_scan)();

void scan_two_level() {
    auto& vcpu = this_vcpu_info();
    u64 words = __atomic_exchange_n(&vcpu.evtchn_pending_sel, 0, __ATOMIC_ACQ_REL);
    for (; words != 0; words &= words - 1) {
        const unsigned word = static_cast<unsigned>(__builtin_ctzl(words));
        u64 ready = __atomic_load_n(&shared->evtchn_pending[word], __ATOMIC_ACQUIRE) & ~shared->evtchn_mask[word];
        for (; ready != 0; ready &= ready - 1) {
            const u32 port = word * 64 + static_cast<u32>(__builtin_ctzl(ready));
            clear_pending(port);
            deliver_event(port);
        }
    }
}

void scan() {
    auto& vcpu = this_vcpu_info();
    while (__atomic_exchange_n(&vcpu.evtchn_upcall_pending, 0, __ATOMIC_ACQ_REL)) {
        if (other_scan)
            other_scan();
        else
            scan_two_level();
    }
}

u64& word(u64* words, u32 port) {
    return words[port / 64];
}
u64 bit(u32 port) {
    return u64{1} << port % 64;
}

} // namespace

extern "C" void guestkit_event(Frame*) {
    ++upcalls;
    scan();
}

void install_events() {
    for (auto& mask : shared->evtchn_mask)
        mask = ~u64{0};
    enable_events();
}

void on_event(u32 port, EventHandler handler) {
    handlers[port % port_count] = handler;
    if (!other_scan)
        unmask_port(port);
}

void deliver_event(u32 port) {
    __atomic_fetch_add(&seen[port % port_count], 1, __ATOMIC_RELAXED);
    if (handlers[port % port_count])
        handlers[port % port_count](port);
}

u64 events_seen(u32 port) {
    return __atomic_load_n(&seen[port % port_count], __ATOMIC_RELAXED);
}
u64 upcalls_seen() {
    return upcalls;
}
void set_event_scan(void (*scan)()) {
    other_scan = scan;
}

long bind_virq(u32 virq, u32 vcpu) {
    evtchn_bind_virq_t argument{virq, vcpu, 0};
    const long error = event_op(EVTCHNOP_bind_virq, &argument);
    return error ? error : argument.port;
}

long bind_ipi(u32 vcpu) {
    evtchn_bind_ipi_t argument{vcpu, 0};
    const long error = event_op(EVTCHNOP_bind_ipi, &argument);
    return error ? error : argument.port;
}

long allocate_unbound(u16 remote) {
    evtchn_alloc_unbound_t argument{DOMID_SELF, remote, 0};
    const long error = event_op(EVTCHNOP_alloc_unbound, &argument);
    return error ? error : argument.port;
}

long bind_interdomain(u16 remote, u32 remote_port) {
    evtchn_bind_interdomain_t argument{remote, remote_port, 0};
    const long error = event_op(EVTCHNOP_bind_interdomain, &argument);
    return error ? error : argument.local_port;
}

long close_port(u32 port) {
    evtchn_close_t argument{port};
    return event_op(EVTCHNOP_close, &argument);
}

long notify(u32 port) {
    evtchn_send_t argument{port};
    return event_op(EVTCHNOP_send, &argument);
}

long unmask_by_hypercall(u32 port) {
    evtchn_unmask_t argument{port};
    return event_op(EVTCHNOP_unmask, &argument);
}

void mask_port(u32 port) {
    __atomic_or_fetch(&word(shared->evtchn_mask, port), bit(port), __ATOMIC_ACQ_REL);
}

void unmask_port(u32 port) {
    __atomic_and_fetch(&word(shared->evtchn_mask, port), ~bit(port), __ATOMIC_ACQ_REL);
    if (is_pending(port)) {
        mask_port(port);
        unmask_by_hypercall(port);
    }
}

bool is_pending(u32 port) {
    return __atomic_load_n(&word(shared->evtchn_pending, port), __ATOMIC_ACQUIRE) & bit(port);
}

void clear_pending(u32 port) {
    __atomic_and_fetch(&word(shared->evtchn_pending, port), ~bit(port), __ATOMIC_ACQ_REL);
}

vcpu_info_t& this_vcpu_info() {
    return shared->vcpu_info[this_vcpu()];
}

void mask_events() {
    __atomic_store_n(&this_vcpu_info().evtchn_upcall_mask, 1, __ATOMIC_SEQ_CST);
}
bool events_masked() {
    return this_vcpu_info().evtchn_upcall_mask != 0;
}

void enable_events() {
    auto& vcpu = this_vcpu_info();
    __atomic_store_n(&vcpu.evtchn_upcall_mask, 0, __ATOMIC_SEQ_CST);
    // Any hypercall delivers what is pending; this one does nothing else.
    if (__atomic_load_n(&vcpu.evtchn_upcall_pending, __ATOMIC_SEQ_CST))
        xen_version(XENVER_version, nullptr);
}

void poll_events() {
    scan();
}

void block() {
    sched_op(SCHEDOP_block);
}

bool wait_for_change(const volatile u64* flag, u64 old, u64 nanoseconds) {
    const u64 deadline = system_time() + nanoseconds;
    while (*flag == old) {
        if (system_time() > deadline)
            return false;
        sched_op(SCHEDOP_yield);
    }
    return true;
}

} // namespace domus::guest
