// Setting up and taking down the FIFO ABI: control blocks, the event array, priorities.
// Frames that the guest names are its own, and held writable until the ABI is given up. Lock: Rank::Events inside.
#include "hypervisor/core/fifo.hpp"

#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/log.hpp"

namespace domus::hv {
namespace {

constexpr u32 control_bytes = sizeof(evtchn_fifo_control_block);

// Events that are pending under the 2-level ABI are raised again when their page of the event array comes.
void carry_over_pending(Domain& d, PortTable& table) {
    for (u32 no = 1; no < EVTCHN_2L_NR_CHANNELS; ++no) {
        Port* port = table.at(PortNo(no));
        if (!port) {
            no |= ports_per_chunk - 1;
            continue;
        }
        if (port->kind != PortKind::Free && d.shared && clear_bit(d.shared->evtchn_pending[no / 64], no % 64))
            port->raised_early.store(true);
    }
}

Result<FifoState*> state_for(Domain& d, PortTable& table) {
    EventState& events = *d.events.state();
    if (FifoState* fifo = events.fifo.load())
        return fifo;
    FifoState* fifo = make<FifoState>();
    if (!fifo)
        return Err::NoMem;
    carry_over_pending(d, table);
    events.fifo.store(fifo, std::memory_order_release);
    return fifo;
}

Result<void> install_control(Domain& d, PortTable& table, const evtchn_init_control_t& op, Mfn frame) {
    FifoState* fifo = TRY(state_for(d, table));
    FifoVcpu* fresh = fifo->vcpus[op.vcpu] ? nullptr : make<FifoVcpu>();
    LockHolder holder(fifo->lock);
    if (!fifo->vcpus[op.vcpu]) {
        if (!fresh)
            return Err::NoMem;
        fifo->vcpus[op.vcpu] = fresh;
    }
    FifoVcpu& queues = *fifo->vcpus[op.vcpu];
    if (queues.control)
        return Err::Inval; // initialised once
    queues.frame = frame;
    queues.control = reinterpret_cast<evtchn_fifo_control_block*>(arch::frame_pointer(frame) + op.offset);
    for (u32& head : queues.control->head)
        __atomic_store_n(&head, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&queues.control->ready, 0, __ATOMIC_SEQ_CST);
    return {};
}

void raise_early_ones(Domain& d, PortTable& table, FifoState& fifo, u32 page) {
    for (u32 i = 0; i < fifo_words_per_page; ++i) {
        const PortNo no(page * fifo_words_per_page + i);
        Port* port = table.at(no);
        if (port && port->kind != PortKind::Free && port->raised_early.exchange(false))
            fifo_raise(fifo, d, no, *port);
    }
}

Result<void> install_page(Domain& d, PortTable& table, Mfn frame) {
    FifoState* fifo = d.events.state()->fifo.load();
    if (!fifo)
        return Err::OpNotSupp;
    if (fifo->page_count >= fifo_pages)
        return Err::NoSpace;
    const u32 page = fifo->page_count++;
    fifo->page_frames[page] = frame;
    fifo->pages[page].store(arch::frame_as<event_word_t>(frame), std::memory_order_seq_cst);
    raise_early_ones(d, table, *fifo, page);
    return {};
}

} // namespace

Result<void> fifo_init_control(Domain& d, evtchn_init_control_t& op) {
    if (!d.vcpu(op.vcpu))
        return Err::NoEnt;
    // ISOLATION: the block must lie in the page whole, and be aligned for 64 bits.
    if (op.offset > page_size - control_bytes || op.offset % 8 != 0) {
        why(d, "init_control: offset {x} of the control block", op.offset);
        return Err::Inval;
    }
    const Mfn frame(op.control_gfn);
    TRY(get_frame_and_type(frame, d, FrameType::Writable));
    auto done = d.events.state()->ports.with([&](PortTable& table) { return install_control(d, table, op, frame); });
    if (!done) {
        put_frame_and_type(frame);
        return done.error();
    }
    op.link_bits = EVTCHN_FIFO_LINK_BITS;
    return {};
}

Result<void> fifo_expand_array(Domain& d, const evtchn_expand_array_t& op) {
    const Mfn frame(op.array_gfn);
    if (!d.events.state()->fifo.load())
        return Err::OpNotSupp;
    TRY(get_frame_and_type(frame, d, FrameType::Writable));
    auto done = d.events.state()->ports.with([&](PortTable& table) { return install_page(d, table, frame); });
    if (!done)
        put_frame_and_type(frame);
    return done;
}

Result<void> fifo_set_priority(Domain& d, const evtchn_set_priority_t& op) {
    return d.events.state()->ports.with([&](PortTable& table) -> Result<void> {
        if (!d.events.state()->fifo.load())
            return Err::NoSys;
        Port* port = table.at(PortNo(op.port));
        if (!port || op.priority > EVTCHN_FIFO_PRIORITY_MIN)
            return Err::Inval;
        port->priority.store(static_cast<u8>(op.priority));
        return {};
    });
}

void fifo_destroy(FifoState* fifo) {
    if (!fifo)
        return;
    for (u32 i = 0; i < fifo->page_count; ++i)
        put_frame_and_type(fifo->page_frames[i]);
    for (FifoVcpu* queues : fifo->vcpus) {
        if (queues && queues->control)
            put_frame_and_type(queues->frame);
        destroy(queues);
    }
    destroy(fifo);
}

} // namespace domus::hv
