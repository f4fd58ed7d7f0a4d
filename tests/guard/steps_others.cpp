// What else takes frames or leads to other domains: a vcpu's info page, claims, event channels. See world.hpp.
#include "tests/guard/world.hpp"

namespace domus::guard {
namespace {

constexpr u64 argument_offset = 0x5000;
constexpr u32 most_ports = 24;

} // namespace

void World::others(Choices& c) {
    switch (c.pick(4)) {
    case 0:
        return register_info(c);
    case 1:
        return claim(c);
    default:
        return event_channel(c);
    }
}

// Once in a vcpu's life: its frame is then written by the hypervisor, so it must stay the domain's and no table.
void World::register_info(Choices& c) {
    const u32 which = static_cast<u32>(c.pick(vcpus_each));
    const vcpu_register_vcpu_info_t info{any_frame(c).n, static_cast<u32>(c.one_in(8) ? c.bits() : c.pick(8) * 64), 0};
    m_.put(info, area() + argument_offset);
    call(__HYPERVISOR_vcpu_op, {VCPUOP_register_vcpu_info, which, area() + argument_offset});
}

void World::claim(Choices& c) {
    xen_memory_reservation_t r{};
    r.nr_extents = c.one_in(3) ? 0 : c.pick(first_frames * 2);
    r.domid = any_domid(c);
    m_.put(r, area() + argument_offset);
    call(__HYPERVISOR_memory_op, {XENMEM_claim_pages, area() + argument_offset});
}

void World::event_channel(Choices& c) {
    const u64 at = area() + argument_offset;
    const Slot& other = slots_[other_slot(c)];
    const u16 id = other.domain ? other.domain->id.n : static_cast<u16>(DOMID_SELF);
    const u32 port = static_cast<u32>(c.pick(most_ports));
    switch (c.pick(6)) {
    case 0:
        m_.put(evtchn_alloc_unbound_t{static_cast<domid_t>(DOMID_SELF), id, 0}, at);
        call(__HYPERVISOR_event_channel_op, {EVTCHNOP_alloc_unbound, at});
        return;
    case 1:
        m_.put(evtchn_bind_interdomain_t{id, static_cast<u32>(c.pick(most_ports)), 0}, at);
        call(__HYPERVISOR_event_channel_op, {EVTCHNOP_bind_interdomain, at});
        return;
    case 2:
        m_.put(evtchn_send_t{port}, at);
        call(__HYPERVISOR_event_channel_op, {EVTCHNOP_send, at});
        return;
    case 3:
        m_.put(evtchn_bind_ipi_t{static_cast<u32>(c.pick(vcpus_each + 1)), 0}, at);
        call(__HYPERVISOR_event_channel_op, {EVTCHNOP_bind_ipi, at});
        return;
    case 4:
        m_.put(evtchn_bind_vcpu_t{port, static_cast<u32>(c.pick(vcpus_each + 1))}, at);
        call(__HYPERVISOR_event_channel_op, {EVTCHNOP_bind_vcpu, at});
        return;
    default:
        m_.put(evtchn_close_t{port}, at);
        call(__HYPERVISOR_event_channel_op, {EVTCHNOP_close, at});
        return;
    }
}

} // namespace domus::guard
