// __HYPERVISOR_event_channel_op: one function per sub-operation, one row each. Source: <xen/event_channel.h>.
// Arguments are copied in once and judged as the copy. Lock: Rank::Events inside.
#include "hypervisor/core/events_ports.hpp"
#include "hypervisor/core/fifo.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/operation_lists.hpp"

namespace domus::hv {
namespace {

Guarded<PortTable, Rank::Events>& ports_of(Domain& d) {
    return d.events.state()->ports;
}

Result<void> alloc_unbound(Call& call, evtchn_alloc_unbound_t& op) {
    DomainRef d = TRY(find_target(call.domain, op.dom));
    const DomId remote = op.remote_dom == DOMID_SELF ? call.domain.id : DomId(op.remote_dom);
    op.port = TRY(allocate_unbound(*d, remote)).n;
    return {};
}

Result<void> bind_interdomain(Call& call, evtchn_bind_interdomain_t& op) {
    DomainRef remote = find_domain(op.remote_dom == DOMID_SELF ? call.domain.id : DomId(op.remote_dom));
    if (!remote)
        return Err::Srch;
    auto bound = connect(call.domain, *remote, PortNo(op.remote_port));
    if (!bound) {
        why(call.domain, "bind_interdomain: port {} of d{} does not wait for this domain (or no port is free)",
            op.remote_port, remote->id);
        return bound.error();
    }
    op.local_port = bound.value().n;
    return {};
}

Result<void> bind_virq(Call& call, evtchn_bind_virq_t& op) {
    if (op.virq >= NR_VIRQS || (is_global_virq(op.virq) && op.vcpu != 0))
        return Err::Inval;
    Vcpu* v = call.domain.vcpu(op.vcpu);
    if (!v)
        return Err::NoEnt;
    return ports_of(call.domain).with([&](PortTable& table) -> Result<void> {
        if (v->virq_port[op.virq] != 0)
            return Err::Exist;
        const PortNo no = TRY(take_port(call.domain, table));
        Port& port = open_port(table, no, PortKind::Virq);
        port.number = op.virq;
        port.vcpu.store(op.vcpu);
        v->virq_port[op.virq] = op.port = no.n;
        return {};
    });
}

Result<void> bind_ipi(Call& call, evtchn_bind_ipi_t& op) {
    if (!call.domain.vcpu(op.vcpu))
        return Err::NoEnt;
    return ports_of(call.domain).with([&](PortTable& table) -> Result<void> {
        const PortNo no = TRY(take_port(call.domain, table));
        open_port(table, no, PortKind::Ipi).vcpu.store(op.vcpu);
        op.port = no.n;
        return {};
    });
}

Result<void> bind_pirq(Call& call, evtchn_bind_pirq_t& op) {
    if (op.pirq >= max_pirqs || (op.flags & ~u32{BIND_PIRQ__WILL_SHARE}) || !pirq_hooks.bind)
        return Err::Inval;
    return ports_of(call.domain).with([&](PortTable& table) -> Result<void> {
        if (table.pirq_port[op.pirq] != 0)
            return Err::Exist;
        const PortNo no = TRY(take_port(call.domain, table));
        TRY(pirq_hooks.bind(call.domain, op.pirq, op.flags & BIND_PIRQ__WILL_SHARE));
        open_port(table, no, PortKind::Pirq).number = op.pirq;
        table.pirq_port[op.pirq] = op.port = no.n;
        return {};
    });
}

Result<void> close(Call& call, evtchn_close_t& op) {
    return close_port(call.domain, PortNo(op.port));
}

// The hot one. One lock: see core/events_state.hpp.
Result<void> send(Call& call, evtchn_send_t& op) {
    return ports_of(call.domain).with([&](PortTable& table) -> Result<void> {
        Port* port = table.at(PortNo(op.port));
        if (!port)
            return Err::Inval;
        switch (port->kind) {
        case PortKind::Interdomain:
            make_pending(*port->peer_domain, PortNo(port->number), *port->peer);
            return {};
        case PortKind::Ipi:
            make_pending(call.domain, PortNo(op.port), *port);
            return {};
        case PortKind::Unbound:
            return {}; // nobody listens yet: whoever binds gets an event anyway
        default:
            return Err::Inval;
        }
    });
}

Result<void> status(Call& call, evtchn_status_t& op) {
    DomainRef d = TRY(find_target(call.domain, op.dom));
    return ports_of(*d).with([&](PortTable& table) -> Result<void> {
        const Port* port = table.at(PortNo(op.port));
        if (!port)
            return Err::Inval;
        op.status = static_cast<u32>(port->kind);
        op.vcpu = port->vcpu.load();
        op.u = {};
        if (port->kind == PortKind::Unbound)
            op.u.unbound.dom = port->remote_id;
        if (port->kind == PortKind::Interdomain)
            op.u.interdomain = {port->remote_id, port->number};
        if (port->kind == PortKind::Virq)
            op.u.virq = port->number;
        if (port->kind == PortKind::Pirq)
            op.u.pirq = port->number;
        return {};
    });
}

Result<void> bind_vcpu(Call& call, evtchn_bind_vcpu_t& op) {
    if (!call.domain.vcpu(op.vcpu))
        return Err::NoEnt;
    return ports_of(call.domain).with([&](PortTable& table) -> Result<void> {
        Port* port = table.at(PortNo(op.port));
        if (!port)
            return Err::Inval;
        const bool movable = port->kind == PortKind::Unbound || port->kind == PortKind::Interdomain ||
                             port->kind == PortKind::Pirq ||
                             (port->kind == PortKind::Virq && is_global_virq(port->number));
        if (!movable)
            return Err::Inval;
        port->vcpu.store(op.vcpu);
        return {};
    });
}

Result<void> unmask(Call& call, evtchn_unmask_t& op) {
    return ports_of(call.domain).with([&](PortTable& table) -> Result<void> {
        Port* port = table.at(PortNo(op.port));
        if (!port)
            return Err::Inval;
        unmask_port(call.domain, PortNo(op.port), *port);
        return {};
    });
}

// One pass over all ports, some at a time. Ports that the domain opens behind the pass stay open: a domain that is
// being reset by another cannot keep it busy (ISOLATION: unbounded work).
Result<void> reset(Call& call, evtchn_reset_t& op) {
    DomainRef d = TRY(find_target(call.domain, op.dom));
    u32 cursor = ports_of(*d).with([](PortTable& t) { return t.close_cursor; });
    bool done = false;
    while (!done) {
        done = close_ports_from(*d, cursor, 64);
        ports_of(*d).with([&](PortTable& t) { t.close_cursor = done ? 0 : cursor; });
        if (!done && must_yield())
            return Err::Restart;
    }
    if (&*d != &call.domain)
        return {};
    FifoState* unused = ports_of(*d).with(
        [&](PortTable& t) { return t.open == 0 ? d->events.state()->fifo.exchange(nullptr) : nullptr; });
    fifo_destroy(unused);
    return {};
}

Result<void> init_control(Call& call, evtchn_init_control_t& op) {
    return fifo_init_control(call.domain, op);
}
Result<void> expand_array(Call& call, evtchn_expand_array_t& op) {
    return fifo_expand_array(call.domain, op);
}
Result<void> set_priority(Call& call, evtchn_set_priority_t& op) {
    return fifo_set_priority(call.domain, op);
}

using Op = Result<i64> (*)(Call&, u64 argument);

template <class Argument, Result<void> (*handler)(Call&, Argument&), bool answers = false>
Result<i64> op(Call& call, u64 address) {
    const GuestPtr<Argument> pointer{address};
    Argument argument = TRY(copy_in(pointer));
    TRY(handler(call, argument));
    if constexpr (answers)
        TRY(copy_out(pointer, argument));
    return i64{0};
}

constexpr bool answers = true;
constexpr Operation<Op> event_ops[] = {
    OFFERED(EVTCHNOP_bind_interdomain, (op<evtchn_bind_interdomain_t, bind_interdomain, answers>), Guest),
    OFFERED_WITH(EVTCHNOP_bind_virq, (op<evtchn_bind_virq_t, bind_virq, answers>), Guest,
                 "a global one is raised for its handler only"),
    OFFERED_WITH(EVTCHNOP_bind_pirq, (op<evtchn_bind_pirq_t, bind_pirq, answers>), Guest,
                 "EINVAL: no device's interrupts are routed to events yet"),
    OFFERED(EVTCHNOP_close, (op<evtchn_close_t, close>), Guest),
    OFFERED(EVTCHNOP_send, (op<evtchn_send_t, send>), Guest),
    OFFERED(EVTCHNOP_status, (op<evtchn_status_t, status, answers>), Guest),
    OFFERED(EVTCHNOP_alloc_unbound, (op<evtchn_alloc_unbound_t, alloc_unbound, answers>), Guest),
    OFFERED(EVTCHNOP_bind_ipi, (op<evtchn_bind_ipi_t, bind_ipi, answers>), Guest),
    OFFERED(EVTCHNOP_bind_vcpu, (op<evtchn_bind_vcpu_t, bind_vcpu>), Guest),
    OFFERED(EVTCHNOP_unmask, (op<evtchn_unmask_t, unmask>), Guest),
    OFFERED(EVTCHNOP_reset, (op<evtchn_reset_t, reset>), Guest),
    OFFERED(EVTCHNOP_init_control, (op<evtchn_init_control_t, init_control, answers>), Guest),
    OFFERED(EVTCHNOP_expand_array, (op<evtchn_expand_array_t, expand_array>), Guest),
    OFFERED(EVTCHNOP_set_priority, (op<evtchn_set_priority_t, set_priority>), Guest),
};
static_assert(is_dense(event_ops));

} // namespace

Result<i64> event_channel_op(Call& call, i32 command, u64 argument) {
    if (command < 0 || static_cast<usize>(command) >= std::size(event_ops))
        return Err::NoSys;
    return event_ops[command].run(call, argument);
}

const OperationList event_operations(event_ops);

} // namespace domus::hv
