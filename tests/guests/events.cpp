// Event channels: unbound and interdomain to oneself, IPI to oneself, masks, pending bits, order, limits, close, and
// the FIFO ABI at the end (it cannot be left again).
#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/test.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

u32 last_port;
void remember(u32 port) {
    last_port = port;
}

void ipi_to_self() {
    const long port = bind_ipi(0);
    check(port > 0, "bind_ipi", "%ld", port);
    on_event(port, remember);
    expect(notify(port), 0, "send_ipi");
    check(events_seen(port) == 1 && last_port == port, "ipi_arrives_at_once", "%lu times", events_seen(port));
    mask_port(port);
    notify(port);
    check(events_seen(port) == 1 && is_pending(port), "masked_port_waits");
    expect(unmask_by_hypercall(port), 0, "unmask");
    check(events_seen(port) == 2, "unmask_delivers", "%lu times", events_seen(port));
    mask_events();
    notify(port);
    notify(port);
    check(events_seen(port) == 2 && this_vcpu_info().evtchn_upcall_pending == 1, "masked_vcpu_waits");
    enable_events();
    check(events_seen(port) == 3, "two_sends_are_one_event", "%lu", events_seen(port));
    expect(close_port(port), 0, "close");
    expect(notify(port), -XEN_EINVAL, "send_to_closed");
    expect(close_port(port), -XEN_EINVAL, "close_twice");
}

void interdomain_with_self() {
    const long listening = allocate_unbound();
    check(listening > 0, "alloc_unbound", "%ld", listening);
    expect(notify(listening), 0, "send_unbound_is_dropped");
    const long connected = bind_interdomain(DOMID_SELF, listening);
    check(connected > 0 && connected != listening, "bind_interdomain", "%ld", connected);
    check(is_pending(connected), "new_binding_is_pending");
    clear_pending(connected);
    on_event(listening, remember);
    on_event(connected, remember);
    notify(connected);
    check(last_port == listening, "arrives_at_other_end", "last port %u", last_port);
    notify(listening);
    check(last_port == connected, "arrives_back", "last port %u", last_port);
    expect(bind_interdomain(DOMID_SELF, listening), -XEN_EINVAL, "bind_twice");
    evtchn_status_t status{DOMID_SELF, static_cast<u32>(listening), 0, 0, {}};
    expect(event_op(EVTCHNOP_status, &status), 0, "status");
    check(status.status == EVTCHNSTAT_interdomain && status.u.interdomain.port == connected, "status_interdomain", "%u",
          status.status);
    expect(close_port(connected), 0, "close_one_end");
    expect(event_op(EVTCHNOP_status, &status), 0, "status_after_close");
    check(status.status == EVTCHNSTAT_unbound, "other_end_is_unbound_again", "%u", status.status);
    close_port(listening);
}

void virqs() {
    const long port = bind_virq(VIRQ_DEBUG);
    check(port > 0, "bind_virq", "%ld", port);
    expect(bind_virq(VIRQ_DEBUG), -XEN_EEXIST, "bind_virq_twice");
    expect(notify(port), -XEN_EINVAL, "send_to_virq");
    evtchn_bind_vcpu_t move{static_cast<u32>(port), 0};
    expect(event_op(EVTCHNOP_bind_vcpu, &move), -XEN_EINVAL, "virq_of_vcpu_does_not_move");
    expect(close_port(port), 0, "close_virq");
}

// Ports go up to the limit of the ABI and every one works; the hypervisor then refuses and frees them all again.
void many_ports() {
    static u32 ports[4096];
    u32 count = 0;
    long result = 0;
    while (count < 4096 && (result = bind_ipi(0)) > 0)
        ports[count++] = static_cast<u32>(result);
    check(count > 900, "many_ports", "only %u, then %ld", count, result);
    on_event(ports[count - 1], remember);
    notify(ports[count - 1]);
    check(last_port == ports[count - 1], "highest_port_works");
    u32 closed = 0;
    for (u32 i = 0; i < count; ++i)
        closed += close_port(ports[i]) == 0;
    check(closed == count, "all_closed", "%u of %u", closed, count);
}

// FIFO ABI (<xen/event_channel.h>): words with pending, mask, linked and a link; a head per priority.
evtchn_fifo_control_block_t* control;
event_word_t* words;

void fifo_scan() {
    u32 ready = __atomic_exchange_n(&control->ready, 0, __ATOMIC_ACQ_REL);
    for (; ready != 0; ready &= ready - 1) {
        u32 port = control->head[__builtin_ctz(ready)];
        while (port != 0) {
            const u32 word =
                __atomic_fetch_and(&words[port], ~(1u << EVTCHN_FIFO_LINKED | EVTCHN_FIFO_LINK_MASK), __ATOMIC_ACQ_REL);
            if (!(word & 1u << EVTCHN_FIFO_MASKED)) {
                __atomic_fetch_and(&words[port], ~(1u << EVTCHN_FIFO_PENDING), __ATOMIC_ACQ_REL);
                deliver_event(port);
            }
            port = word & EVTCHN_FIFO_LINK_MASK;
        }
    }
}

bool fifo_set_up() {
    control = static_cast<evtchn_fifo_control_block_t*>(take_page());
    words = static_cast<event_word_t*>(take_page());
    evtchn_init_control_t init{};
    init.control_gfn = mfn_of(control).n;
    init.offset = 4;
    expect(event_op(EVTCHNOP_init_control, &init), -XEN_EINVAL, "fifo_unaligned_offset");
    init.offset = 0;
    init.vcpu = 999;
    expect(event_op(EVTCHNOP_init_control, &init), -XEN_ENOENT, "fifo_no_vcpu");
    init.vcpu = 0;
    const long error = event_op(EVTCHNOP_init_control, &init);
    if (error == -XEN_ENOSYS)
        return false;
    expect(error, 0, "fifo_init");
    check(init.link_bits == EVTCHN_FIFO_LINK_BITS, "fifo_link_bits", "%u", init.link_bits);
    evtchn_expand_array_t expand{mfn_of(words).n};
    expect(event_op(EVTCHNOP_expand_array, &expand), 0, "fifo_expand");
    set_event_scan(fifo_scan);
    return true;
}

void unmask_fifo(u32 port) {
    __atomic_fetch_and(&words[port], ~(1u << EVTCHN_FIFO_MASKED), __ATOMIC_ACQ_REL);
}

void fifo() {
    if (!fifo_set_up()) {
        check(false, "fifo", "not offered");
        return;
    }
    const u32 first = static_cast<u32>(bind_ipi(0)), second = static_cast<u32>(bind_ipi(0));
    on_event(first, remember);
    on_event(second, remember);
    unmask_fifo(first);
    unmask_fifo(second);
    const u64 seen = events_seen(first), seen_second = events_seen(second);
    notify(first);
    check(events_seen(first) == seen + 1, "fifo_delivers", "%lu", events_seen(first) - seen);
    mask_events();
    notify(second);
    notify(first);
    enable_events();
    check(last_port == first && events_seen(second) == seen_second + 1, "fifo_keeps_order", "last %u of %u %u",
          last_port, second, first);
    evtchn_set_priority_t priority{first, EVTCHN_FIFO_PRIORITY_MIN};
    expect(event_op(EVTCHNOP_set_priority, &priority), 0, "fifo_set_priority");
    mask_events();
    notify(first);
    notify(second);
    enable_events();
    check(last_port == first, "fifo_low_priority_comes_last", "last %u", last_port);
    priority.priority = 16;
    expect(event_op(EVTCHNOP_set_priority, &priority), -XEN_EINVAL, "fifo_priority_16");
    __atomic_fetch_or(&words[first], 1u << EVTCHN_FIFO_MASKED, __ATOMIC_ACQ_REL);
    const u64 before = events_seen(first);
    notify(first);
    check(events_seen(first) == before && words[first] & 1u << EVTCHN_FIFO_PENDING, "fifo_masked_waits");
    expect(unmask_by_hypercall(first), 0, "fifo_unmask");
    check(events_seen(first) == before + 1, "fifo_unmask_delivers");
    // hostile link words: the hypervisor must not follow them out of the array
    words[second] |= EVTCHN_FIFO_LINK_MASK;
    words[0] = ~0u;
    notify(second);
    expect(notify(first), 0, "fifo_survives_bad_links");
}

} // namespace

void guest_main() {
    ipi_to_self();
    interdomain_with_self();
    virqs();
    many_ports();
    check(upcalls_seen() > 0, "upcalls");
    fifo();
    finish();
}
