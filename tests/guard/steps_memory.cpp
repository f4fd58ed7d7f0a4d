// Memory that a domain gives back, gets, and exchanges. See world.hpp.
#include "tests/guard/world.hpp"

namespace domus::guard {

void World::reservation(Choices& c) {
    constexpr u32 commands[] = {XENMEM_decrease_reservation, XENMEM_decrease_reservation, XENMEM_populate_physmap,
                                XENMEM_increase_reservation};
    const u32 command = c.of(commands, std::size(commands));
    const u32 count = 1 + static_cast<u32>(c.pick(3));
    const Mfn first = any_frame(c);
    if (command == XENMEM_decrease_reservation && c.one_in(2))
        withdraw(c, first, true);
    for (u32 i = 0; i < count; ++i)
        m_.put(command == XENMEM_populate_physmap ? c.pick(first_frames) : (i == 0 ? first : any_frame(c)).n,
               area() + i * 8);
    xen_memory_reservation_t r{};
    r.nr_extents = count;
    r.extent_order = static_cast<u32>(c.one_in(4) ? c.pick(3) : 0);
    r.domid = c.one_in(6) ? any_domid(c) : static_cast<domid_t>(DOMID_SELF);
    r.extent_start.p = reinterpret_cast<xen_pfn_t*>(area());
    m_.put(r, area() + 0x1000);
    call(__HYPERVISOR_memory_op, {command, area() + 0x1000});
}

void World::exchange(Choices& c) {
    const u32 in_order = static_cast<u32>(c.pick(2)), out_order = static_cast<u32>(c.pick(2));
    const u32 frames = 2 * (1 + static_cast<u32>(c.pick(2)));
    std::vector<Mfn> gone(frames);
    for (u32 i = 0; i < frames; ++i) {
        gone[i] = in_order == 1 && i % 2 == 1 ? gone[i - 1] + 1 : any_frame(c);
        if (!c.one_in(4))
            withdraw(c, gone[i], true);
    }
    for (u32 i = 0; i < frames; ++i) {
        m_.put(u64{gone[i << in_order < frames ? i << in_order : 0].n}, area() + i * 8);
        m_.put(c.pick(first_frames), area() + 0x800 + i * 8);
    }
    xen_memory_exchange_t e{};
    e.in.nr_extents = frames >> in_order;
    e.in.extent_order = in_order;
    e.in.domid = e.out.domid = DOMID_SELF;
    e.in.extent_start.p = reinterpret_cast<xen_pfn_t*>(area());
    e.out.nr_extents = frames >> out_order;
    e.out.extent_order = out_order;
    e.out.extent_start.p = reinterpret_cast<xen_pfn_t*>(area() + 0x800);
    m_.put(e, area() + 0x1000);
    if (call(__HYPERVISOR_memory_op, {XENMEM_exchange, area() + 0x1000}) < 0 && frames == 2) { // refused: still its own
        mmuext_op_t op{};
        op.cmd = MMUEXT_PIN_L1_TABLE;
        op.arg1.mfn = gone[0].n;
        m_.put(op, area());
        call(__HYPERVISOR_mmuext_op, {area(), 1, 0, DOMID_SELF});
    }
}

// The hypervisor needs memory of its own.
void World::grow_grants(Choices& c) {
    gnttab_setup_table_t op{};
    op.dom = DOMID_SELF;
    op.nr_frames = 1 + static_cast<u32>(c.pick(8));
    op.frame_list.p = reinterpret_cast<xen_pfn_t*>(area() + 0x1000);
    m_.put(op, area());
    call(__HYPERVISOR_grant_table_op, {GNTTABOP_setup_table, area(), 1});
}

} // namespace domus::guard
