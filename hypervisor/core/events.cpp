// Event delivery: from "this port is pending" to the vcpu that shall hear of it, by the 2-level or the FIFO ABI.
// Owner: Domain. Lock: Rank::Events (either end of a pair); guest-visible words change by atomic operations only.
// Called from hypercalls and the exit path; not from interrupt handlers.
#include "hypervisor/core/events.hpp"

#include "hypervisor/core/events_state.hpp"
#include "hypervisor/core/fifo.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/sched.hpp"

namespace domus::hv {

PirqHooks pirq_hooks{};

EventChannels::EventChannels(Domain& owner) : owner_(owner), state_(make<EventState>()) {}

EventChannels::~EventChannels() {
    if (!state_)
        return;
    fifo_destroy(state_->fifo.exchange(nullptr));
    for (PortChunk* chunk : state_->ports.unguarded().chunks) // nobody else knows the domain any more
        destroy(chunk);
    destroy(state_);
}

void mark_upcall(Vcpu& v) {
    if (!v.info)
        return; // a vcpu without vcpu_info: on_vcpu_info_moved() shows it later
    // Pairs with block(): it clears evtchn_upcall_mask, stops, then reads evtchn_upcall_pending. Both sides are
    // sequentially consistent, so either it sees our store or we see it stopped.
    if (__atomic_exchange_n(&v.info->evtchn_upcall_pending, u8{1}, __ATOMIC_SEQ_CST) == 0)
        notify(v);
}

namespace {

// The 2-level ABI: pending bit, then the selector bit of its word, then the upcall byte; each step only on 0 -> 1.
bool raise_two_level(Domain& d, PortNo no, const Port& port) {
    if (!d.shared || no.n >= EVTCHN_2L_NR_CHANNELS)
        return false;
    const u32 word = no.n / 64, bit = no.n % 64;
    if (set_bit(d.shared->evtchn_pending[word], bit))
        return false;
    Vcpu* v = d.vcpu(port.vcpu.load(std::memory_order_relaxed));
    if (v && v->info && !test_bit(d.shared->evtchn_mask[word], bit) && !set_bit(v->info->evtchn_pending_sel, word))
        mark_upcall(*v);
    return true;
}

void unmask_two_level(Domain& d, PortNo no, const Port& port) {
    if (!d.shared || no.n >= EVTCHN_2L_NR_CHANNELS)
        return;
    const u32 word = no.n / 64, bit = no.n % 64;
    Vcpu* v = d.vcpu(port.vcpu.load(std::memory_order_relaxed));
    if (clear_bit(d.shared->evtchn_mask[word], bit) && test_bit(d.shared->evtchn_pending[word], bit) && v && v->info &&
        !set_bit(v->info->evtchn_pending_sel, word))
        mark_upcall(*v);
}

// sched_op poll waits for ports whether they are masked or not. Pairs with poll: it names its port, then looks
// whether the port is pending; we set pending, then look whom a vcpu polls.
void wake_pollers(Domain& d, PortNo no) {
    if (d.pollers.load(std::memory_order_seq_cst) == 0) [[likely]]
        return;
    for (u32 i = 0; i < d.max_vcpus; ++i) {
        Vcpu* v = d.vcpus[i];
        const u64 polled = v ? v->poll_port.load(std::memory_order_seq_cst) : 0;
        if (polled == no.n || polled == ~u64{0})
            notify(*v);
    }
}

} // namespace

void make_pending(Domain& d, PortNo no, Port& port) {
    FifoState* fifo = d.events.state()->fifo.load(std::memory_order_acquire);
    const bool is_new = fifo ? fifo_raise(*fifo, d, no, port) : raise_two_level(d, no, port);
    if (is_new)
        wake_pollers(d, no);
}

void clear_pending(Domain& d, PortNo no, Port& port) {
    if (FifoState* fifo = d.events.state()->fifo.load(std::memory_order_acquire))
        fifo_clear_pending(*fifo, no, port);
    else if (d.shared && no.n < EVTCHN_2L_NR_CHANNELS)
        clear_bit(d.shared->evtchn_pending[no.n / 64], no.n % 64);
}

void unmask_port(Domain& d, PortNo no, Port& port) {
    if (FifoState* fifo = d.events.state()->fifo.load(std::memory_order_acquire))
        fifo_unmask(*fifo, d, no, port);
    else
        unmask_two_level(d, no, port);
}

void EventChannels::send_local(PortNo no) {
    state_->ports.with([&](PortTable& table) {
        Port* port = table.at(no);
        if (port && port->kind != PortKind::Free)
            make_pending(owner_, no, *port);
    });
}

Result<bool> EventChannels::is_pending(PortNo no) {
    return state_->ports.with([&](PortTable& table) -> Result<bool> {
        const Port* port = table.at(no);
        if (!port)
            return Err::Inval;
        if (FifoState* fifo = state_->fifo.load(std::memory_order_acquire))
            return fifo_is_pending(*fifo, no, *port);
        if (!owner_.shared || no.n >= EVTCHN_2L_NR_CHANNELS)
            return Err::Inval;
        return test_bit(owner_.shared->evtchn_pending[no.n / 64], no.n % 64);
    });
}

void EventChannels::raise_virq(Vcpu& v, u32 virq) {
    state_->ports.with([&](PortTable& table) {
        const PortNo no(v.virq_port[virq]);
        if (Port* port = table.at(no))
            make_pending(owner_, no, *port);
    });
}

// Global virqs are kept at vcpu 0, whichever vcpu their port notifies.
void EventChannels::raise_global_virq(u32 virq) {
    if (Vcpu* v = owner_.vcpu(0))
        raise_virq(*v, virq);
}

void EventChannels::raise_pirq(u32 pirq) {
    if (pirq >= max_pirqs)
        return;
    state_->ports.with([&](PortTable& table) {
        const PortNo no(table.pirq_port[pirq]);
        if (Port* port = table.at(no))
            make_pending(owner_, no, *port);
    });
}

void EventChannels::on_vcpu_info_moved(Vcpu& v) {
    // A sender may have marked the old place a moment ago. Say "look at everything" in the new one: the guest finds
    // nothing more than there is.
    __atomic_store_n(&v.info->evtchn_pending_sel, ~xen_ulong_t{0}, __ATOMIC_SEQ_CST);
    mark_upcall(v);
}

bool has_pending_event(const Vcpu& v) {
    return v.info && __atomic_load_n(&v.info->evtchn_upcall_pending, __ATOMIC_SEQ_CST) != 0 &&
           __atomic_load_n(&v.info->evtchn_upcall_mask, __ATOMIC_SEQ_CST) == 0;
}

} // namespace domus::hv
