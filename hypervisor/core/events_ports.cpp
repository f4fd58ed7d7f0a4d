// The life of ports: opening, closing, pairs across domains, the end of a domain.
// Lock: Rank::Events; pairs by lock_pair, lower domain id first.
#include "hypervisor/core/events_ports.hpp"

#include "hypervisor/core/fifo.hpp"
#include "hypervisor/core/frames.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

u32 port_limit(const Domain& d) {
    const u32 of_abi = d.events.state()->fifo.load(std::memory_order_relaxed) ? u32{EVTCHN_FIFO_NR_CHANNELS}
                                                                              : u32{EVTCHN_2L_NR_CHANNELS};
    return std::min<u64>(of_abi, u64{d.max_event_port} + 1);
}

Result<PortChunk*> chunk_for(PortTable& table, u32 no) {
    PortChunk*& chunk = table.chunks[no / ports_per_chunk];
    if (!chunk)
        chunk = make<PortChunk>();
    if (!chunk)
        return Err::NoMem;
    return chunk;
}

// The peer of an interdomain port, kept alive by a reference; empty if the port is not one.
DomainRef peer_of(Domain& d, PortNo no) {
    return d.events.state()->ports.with([&](PortTable& table) {
        const Port* port = table.at(no);
        if (!port || port->kind != PortKind::Interdomain)
            return DomainRef();
        // The pair holds the peer: it cannot finish dying before it has closed its end under our lock.
        get_domain(*port->peer_domain);
        return DomainRef(port->peer_domain);
    });
}

// Close `no` if it is still paired with a port of `other`. False: it changed meanwhile, look again.
bool close_pair(Domain& d, Domain& other, PortNo no) {
    return lock_pair(d.events.state()->ports, other.events.state()->ports, d.id < other.id,
                     [&](PortTable& mine, PortTable&) {
                         Port* port = mine.at(no);
                         if (!port || port->kind != PortKind::Interdomain || port->peer_domain != &other)
                             return false;
                         // The peer waits for a new connection from us, as the manual says.
                         port->peer->kind = PortKind::Unbound;
                         port->peer->remote_id = d.id.n;
                         port->peer->peer_domain = nullptr;
                         port->peer->peer = nullptr;
                         free_port(d, mine, no, *port);
                         return true;
                     });
}

} // namespace

Result<PortNo> take_port(Domain& d, PortTable& table) {
    if (d.life.load() >= Life::Dying)
        return Err::Inval;
    const u32 limit = port_limit(d);
    for (u32 no = table.lowest_free; no < limit; ++no) {
        PortChunk* chunk = TRY(chunk_for(table, no));
        if (chunk->ports[no % ports_per_chunk].kind != PortKind::Free)
            continue;
        table.lowest_free = no;
        return PortNo(no);
    }
    table.lowest_free = std::max(table.lowest_free, limit);
    return Err::NoSpace;
}

Port& open_port(PortTable& table, PortNo no, PortKind kind) {
    Port& port = *table.at(no);
    port.kind = kind;
    ++table.open;
    table.lowest_free = no.n + 1;
    return port;
}

void free_port(Domain& d, PortTable& table, PortNo no, Port& port) {
    if (port.kind == PortKind::Virq) {
        // Global ones are kept at vcpu 0, per-vcpu ones at the vcpu they notify.
        const u32 holder = is_global_virq(port.number) ? 0 : port.vcpu.load();
        if (Vcpu* v = d.vcpu(holder))
            v->virq_port[port.number] = 0;
    }
    if (port.kind == PortKind::Pirq) {
        table.pirq_port[port.number] = 0;
        if (pirq_hooks.unbind)
            pirq_hooks.unbind(d, port.number);
    }
    clear_pending(d, no, port); // the next owner of the number must not see this one's event
    port.kind = PortKind::Free;
    port.peer_domain = nullptr;
    port.peer = nullptr;
    port.number = 0;
    port.remote_id = 0;
    port.vcpu.store(0);
    port.priority.store(EVTCHN_FIFO_PRIORITY_DEFAULT);
    port.raised_early.store(false);
    --table.open;
    table.lowest_free = std::min(table.lowest_free, no.n);
}

Result<void> close_port(Domain& d, PortNo no) {
    for (;;) {
        if (DomainRef other = peer_of(d, no)) {
            if (close_pair(d, *other, no))
                return {};
            continue; // the peer went away in between: now it is an unbound port
        }
        bool is_pair = false;
        auto closed = d.events.state()->ports.with([&](PortTable& table) -> Result<void> {
            Port* port = table.at(no);
            if (!port || port->kind == PortKind::Free)
                return Err::Inval;
            is_pair = port->kind == PortKind::Interdomain;
            if (!is_pair)
                free_port(d, table, no, *port);
            return {};
        });
        if (!is_pair)
            return closed;
    }
}

Result<PortNo> allocate_unbound(Domain& d, DomId remote) {
    return d.events.state()->ports.with([&](PortTable& table) -> Result<PortNo> {
        const PortNo no = TRY(take_port(d, table));
        open_port(table, no, PortKind::Unbound).remote_id = remote.n;
        return no;
    });
}

Result<PortNo> connect(Domain& d, Domain& remote, PortNo remote_no) {
    return lock_pair(d.events.state()->ports, remote.events.state()->ports, d.id < remote.id,
                     [&](PortTable& mine, PortTable& theirs) -> Result<PortNo> {
                         const PortNo no = TRY(take_port(d, mine));
                         Port* far = theirs.at(remote_no);
                         if (!far || far->kind != PortKind::Unbound || far->remote_id != d.id.n)
                             return Err::Inval;
                         Port& near = open_port(mine, no, PortKind::Interdomain);
                         near.remote_id = remote.id.n;
                         near.number = remote_no.n;
                         near.peer_domain = &remote;
                         near.peer = far;
                         far->kind = PortKind::Interdomain;
                         far->number = no.n;
                         far->peer_domain = &d;
                         far->peer = &near;
                         // The other side may have sent before anyone listened.
                         make_pending(d, no, near);
                         return no;
                     });
}

bool close_ports_from(Domain& d, u32& cursor, u32 at_most) {
    for (; at_most > 0; ++cursor) {
        if (cursor >= EVTCHN_FIFO_NR_CHANNELS)
            return true;
        if (cursor % ports_per_chunk == 0) {
            const bool any = d.events.state()->ports.with(
                [&](PortTable& t) { return t.chunks[cursor / ports_per_chunk] != nullptr; });
            if (!any) {
                cursor += ports_per_chunk - 1;
                continue;
            }
        }
        if (close_port(d, PortNo(cursor)))
            --at_most;
    }
    return false;
}

bool EventChannels::close_some() {
    if (!state_)
        return true;
    u32 cursor = state_->ports.with([](PortTable& t) { return t.close_cursor; });
    const bool done = close_ports_from(owner_, cursor, 64);
    state_->ports.with([&](PortTable& t) { t.close_cursor = done ? 0 : cursor; });
    if (!done)
        return false;
    forget_virq_handler(owner_);
    fifo_destroy(state_->fifo.exchange(nullptr));
    return true;
}

} // namespace domus::hv
