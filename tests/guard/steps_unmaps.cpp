// Mappings of grants are undone, in lists and in multicalls. What was answered goes into the guard's own book of who
// may map what. See world.hpp.
#include "tests/guard/world.hpp"

namespace domus::guard {
namespace {

constexpr u64 list_offset = 0x9000; // nobody else writes there

} // namespace

u64 World::unmap_list() const {
    return area() + list_offset;
}

void World::unmap_grant(Choices& c) {
    if (!me().handles.empty()) {
        const u32 command = fill_unmaps(c, 1);
        call(__HYPERVISOR_grant_table_op, {command, unmap_list(), 1});
    }
}

// Or so many that the call may have to stop in between.
bool World::unmaps_in_multicall(Choices& c, multicall_entry_t& entry) {
    if (me().handles.empty())
        return false;
    const u32 count = c.one_in(3) ? 20 : 1 + static_cast<u32>(c.pick(3));
    entry.op = __HYPERVISOR_grant_table_op;
    entry.args[0] = fill_unmaps(c, count);
    entry.args[1] = unmap_list();
    entry.args[2] = count;
    return true;
}

u32 World::fill_unmaps(Choices& c, u32 count) {
    UnmapList& list = me().unmaps[vcpu_];
    list = {};
    for (u32 i = 0; i < count; ++i) {
        const u32 handle = c.one_in(10) ? static_cast<u32>(c.pick(64)) : me().handles[c.pick(me().handles.size())];
        const auto held = held_.find({slot_, handle});
        Unmap unmap{held != held_.end() && !c.one_in(5) ? held->second.address : any_address(c).n, 0, handle};
        if (i == 0)
            list.replaces = c.one_in(3);
        if (list.replaces) {
            const u64 other = c.one_in(3) ? 0 : any_address(c).n;
            const gnttab_unmap_and_replace_t op{unmap.host, other, handle, unanswered};
            m_.put(op, unmap_list() + i * sizeof op);
        } else {
            if (c.one_in(8))
                unmap.host = 0;
            if (held != held_.end() && (held->second.flags & GNTMAP_device_map) != 0 && !c.one_in(4))
                unmap.device = held->second.frame << page_shift;
            gnttab_unmap_grant_ref_t op{};
            op.host_addr = unmap.host;
            op.dev_bus_addr = unmap.device;
            op.handle = handle;
            op.status = unanswered;
            m_.put(op, unmap_list() + i * sizeof op);
        }
        list.asked.push_back(unmap);
    }
    return list.replaces ? GNTTABOP_unmap_and_replace : GNTTABOP_unmap_grant_ref;
}

// After each run of a hypercall, finished or not. What was answered and noted must not be answered again: the hypercall
// would have forgotten where it stopped.
void World::note_grants(const Pending& done) {
    const bool multicall = done.number == __HYPERVISOR_multicall;
    if (!multicall && done.number != __HYPERVISOR_grant_table_op)
        return;
    if (me().unmaps[vcpu_].before_maps)
        note_unmaps();
    if (multicall || done.args[0] == GNTTABOP_map_grant_ref)
        note_maps();
    note_unmaps();
}

void World::note_unmaps() {
    UnmapList& list = me().unmaps[vcpu_];
    const u64 size = list.replaces ? sizeof(gnttab_unmap_and_replace_t) : sizeof(gnttab_unmap_grant_ref_t);
    const u64 status =
        list.replaces ? offsetof(gnttab_unmap_and_replace_t, status) : offsetof(gnttab_unmap_grant_ref_t, status);
    for (usize i = 0; i < list.asked.size(); ++i) {
        const u64 at = unmap_list() + i * size + status;
        const i16 answer = m_.get<i16>(at);
        if (answer == unanswered || answer == noted)
            continue;
        if (list.asked[i].noted)
            model_.fail("an unmap was done twice");
        list.asked[i].noted = true;
        m_.put(noted, at);
        if (answer == GNTST_okay)
            note_unmapped(list.asked[i]);
    }
}

// What was undone of a mapping, which may be of two kinds. An address of 0 names no entry.
void World::note_unmapped(const Unmap& unmap) {
    const auto held = held_.find({slot_, unmap.handle});
    if (held == held_.end())
        return model_.fail("a grant was unmapped that was not mapped");
    u32& flags = held->second.flags;
    if (unmap.host != 0 && (flags & GNTMAP_host_map) != 0) {
        Rights& rights = model_.rights[{domain().id.n, held->second.frame}];
        --rights.any;
        rights.write -= (flags & GNTMAP_readonly) == 0;
        flags &= ~u32{GNTMAP_host_map};
    }
    if (unmap.device != 0)
        flags &= ~u32{GNTMAP_device_map};
    if ((flags & (GNTMAP_host_map | GNTMAP_device_map)) == 0)
        held_.erase(held);
}

} // namespace domus::guard
