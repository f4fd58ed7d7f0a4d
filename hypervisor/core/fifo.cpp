// FIFO event queues: appending to lists in guest memory that the guest consumes at the same time.
// The rules about hostile words are in fifo.hpp. Lock: FifoState::lock around linking.
#include "hypervisor/core/fifo.hpp"

#include "hypervisor/core/log.hpp"

namespace domus::hv {
namespace {

constexpr event_word_t pending_bit = 1u << EVTCHN_FIFO_PENDING;
constexpr event_word_t masked_bit = 1u << EVTCHN_FIFO_MASKED;
constexpr event_word_t linked_bit = 1u << EVTCHN_FIFO_LINKED;
constexpr event_word_t busy_bit = 1u << EVTCHN_FIFO_BUSY;

constexpr int polite_tries = 4;     // a guest that is just consuming the tail loses a race or two
constexpr int insistent_tries = 64; // with BUSY set a well-behaved guest leaves the word alone

event_word_t load(const event_word_t* word) {
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}
event_word_t fetch_set(event_word_t* word, event_word_t bits) {
    return __atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
}
event_word_t fetch_clear(event_word_t* word, event_word_t bits) {
    return __atomic_fetch_and(word, ~bits, __ATOMIC_SEQ_CST);
}

enum class Append { Done, WasConsumed, Contended };

// Point the tail's link at `no`, unless the guest has consumed the tail meanwhile (LINKED is clear).
Append try_append(event_word_t* tail, u32 no, int tries) {
    event_word_t seen = load(tail);
    while (tries-- > 0) {
        if (!(seen & linked_bit))
            return Append::WasConsumed;
        const event_word_t wanted = (seen & ~event_word_t{EVTCHN_FIFO_LINK_MASK}) | no;
        if (__atomic_compare_exchange_n(tail, &seen, wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return Append::Done;
    }
    return Append::Contended;
}

bool append(event_word_t* tail, u32 no, const Domain& d) {
    Append result = try_append(tail, no, polite_tries);
    if (result == Append::Contended) {
        fetch_set(tail, busy_bit);
        result = try_append(tail, no, insistent_tries);
        fetch_clear(tail, busy_bit);
    }
    if (result == Append::Contended)
        why(d, "event queue: the guest keeps changing the tail's event word; port {} starts the queue anew", no);
    return result == Append::Done;
}

// A port that was last linked to another queue may still be remembered there as the tail, though the guest has
// consumed it. Appending behind it would then write into the wrong list.
void forget_old_tail(FifoState& fifo, PortNo no, Port& port, u32 vcpu, u32 priority) {
    if (port.queued_vcpu == vcpu && port.queued_priority == priority)
        return;
    FifoVcpu* old = fifo.vcpus[port.queued_vcpu];
    if (old && old->tail[port.queued_priority] == no.n)
        old->tail[port.queued_priority] = 0;
    port.queued_vcpu = static_cast<u16>(vcpu);
    port.queued_priority = static_cast<u8>(priority);
}

// Put a pending, unmasked event at the end of its queue, once.
void link(FifoState& fifo, Domain& d, PortNo no, Port& port, event_word_t* word) {
    const event_word_t before = load(word);
    if (before & (masked_bit | linked_bit))
        return;
    const u32 vcpu = port.vcpu.load(std::memory_order_relaxed);
    const u32 priority = port.priority.load(std::memory_order_relaxed);
    evtchn_fifo_control_block* control = nullptr;
    {
        LockHolder holder(fifo.lock);
        FifoVcpu* queues = vcpu < fifo.vcpus.size() ? fifo.vcpus[vcpu] : nullptr;
        if (!queues ||
            !queues->control) // ISOLATION: absent control blocks. It stays pending, and is lost (as documented)
            return;
        if (fetch_set(word, linked_bit) & linked_bit)
            return;
        fetch_clear(word, EVTCHN_FIFO_LINK_MASK); // the end of the list
        forget_old_tail(fifo, no, port, vcpu, priority);
        const u32 tail = queues->tail[priority];
        queues->tail[priority] = no.n;
        // Behind itself: the guest consumed it as the last of the queue and it comes again.
        event_word_t* tail_word = tail != 0 && tail != no.n ? fifo.word(PortNo(tail)) : nullptr;
        if (tail_word && append(tail_word, no.n, d))
            return; // the guest finds it on its way through the queue
        __atomic_store_n(&queues->control->head[priority], no.n, __ATOMIC_SEQ_CST);
        control = queues->control;
    }
    // The head is visible before the ready bit: pairs with the guest, which clears ready and then reads the head.
    if (!((__atomic_fetch_or(&control->ready, 1u << priority, __ATOMIC_SEQ_CST) >> priority) & 1)) {
        if (Vcpu* v = d.vcpu(vcpu))
            mark_upcall(*v);
    }
}

} // namespace

bool fifo_raise(FifoState& fifo, Domain& d, PortNo no, Port& port) {
    event_word_t* word = fifo.word(no);
    if (!word) {
        // Not there yet: fifo_expand_array() makes up for it. Pairs with it: it publishes the page, then takes the
        // flag; we set the flag, then look for the page again. One of the two sees the other.
        port.raised_early.store(true, std::memory_order_seq_cst);
        word = fifo.word(no);
        if (!word || !port.raised_early.exchange(false, std::memory_order_seq_cst))
            return true;
    }
    const bool was_pending = fetch_set(word, pending_bit) & pending_bit;
    link(fifo, d, no, port, word);
    return !was_pending;
}

void fifo_unmask(FifoState& fifo, Domain& d, PortNo no, Port& port) {
    event_word_t* word = fifo.word(no);
    if (!word)
        return;
    fetch_clear(word, masked_bit);
    if (load(word) & pending_bit)
        link(fifo, d, no, port, word);
}

void fifo_clear_pending(FifoState& fifo, PortNo no, Port& port) {
    port.raised_early.store(false);
    // Linked events stay linked: only the guest may take them out. It finds nothing pending and goes on.
    if (event_word_t* word = fifo.word(no))
        fetch_clear(word, pending_bit);
}

bool fifo_is_pending(FifoState& fifo, PortNo no, const Port& port) {
    const event_word_t* word = fifo.word(no);
    return word ? (load(word) & pending_bit) != 0 : port.raised_early.load();
}

} // namespace domus::hv
