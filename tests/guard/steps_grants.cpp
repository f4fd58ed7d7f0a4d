// Grants, and the guard's own book of who was granted what: an answer "mapped" must be covered by what the granter's
// shared entry said. See world.hpp.
#include "hypervisor/pv/page_entry.hpp"
#include "tests/guard/world.hpp"

namespace domus::guard {
namespace {

constexpr u32 most_ops = 3;
constexpr u64 list_offset = 0x4000;

} // namespace

void World::grant(Choices& c) {
    switch (c.pick(8)) {
    case 0:
    case 1:
        return write_grant_entry(c);
    case 2:
    case 3:
    case 4:
        return map_grant(c);
    case 5:
    case 6:
        return unmap_grant(c);
    default:
        return copy_grant(c);
    }
}

void World::write_grant_entry(Choices& c) {
    auto* entries = reinterpret_cast<grant_entry_v1_t*>(m_.frame(me().grant_frame));
    constexpr u16 flags[] = {GTF_permit_access, GTF_permit_access, GTF_permit_access | GTF_readonly, 0};
    const Slot& other = slots_[other_slot(c)];
    const u32 ref = first_ref + static_cast<u32>(c.pick(refs));
    const u16 chosen = c.of(flags, std::size(flags));
    const u16 domid = other.domain ? other.domain->id.n : u16{0};
    const u64 frame = any_frame(c).n;
    if (me().version == 2)
        return store_grant_v2(c, ref, chosen, domid, frame);
    grant_entry_v1_t& entry = entries[ref];
    entry.flags = static_cast<u16>(chosen | (entry.flags & (GTF_reading | GTF_writing)));
    entry.domid = domid;
    entry.frame = static_cast<u32>(frame);
}

// An old list must not be read as a new one.
void World::forget_grant_list() {
    for (u32 i = 0; i < most_ops; ++i)
        m_.put(gnttab_map_grant_ref_t{.status = noted}, grant_list() + i * sizeof(gnttab_map_grant_ref_t));
}

u64 World::grant_list() const {
    return area() + list_offset;
}

void World::map_grant(Choices& c) {
    const u32 count = fill_grants(c);
    call(__HYPERVISOR_grant_table_op, {GNTTABOP_map_grant_ref, grant_list(), count});
}

u32 World::fill_grants(Choices& c) {
    constexpr u32 flags[] = {GNTMAP_host_map,
                             GNTMAP_host_map,
                             GNTMAP_host_map | GNTMAP_readonly,
                             GNTMAP_host_map | GNTMAP_contains_pte,
                             GNTMAP_host_map | GNTMAP_readonly | GNTMAP_contains_pte,
                             GNTMAP_device_map,
                             GNTMAP_device_map | GNTMAP_host_map};
    const u32 count = 1 + static_cast<u32>(c.pick(most_ops));
    forget_grant_list();
    for (u32 i = 0; i < count; ++i) {
        gnttab_map_grant_ref_t op{};
        const Slot& granter = slots_[other_slot(c)];
        op.dom = granter.domain ? granter.domain->id.n : static_cast<domid_t>(DOMID_SELF);
        op.ref = first_ref + static_cast<u32>(c.pick(refs));
        op.flags = c.of(flags, std::size(flags));
        op.host_addr = (op.flags & GNTMAP_contains_pte) != 0
                           ? base_of(c.one_in(6) ? any_frame(c) : own_table(c, 1)).n + any_index(c) * u64{8}
                           : any_address(c).n;
        op.status = unanswered;
        m_.put(op, grant_list() + i * sizeof op);
    }
    return count;
}

void World::note_maps() {
    for (u32 i = 0; i < most_ops; ++i)
        note_mapped(grant_list() + i * sizeof(gnttab_map_grant_ref_t));
}

u32 World::slot_of(u16 domid) const {
    u32 slot = 0;
    while (slot < slots && !(slots_[slot].domain && slots_[slot].domain->id.n == domid))
        ++slot;
    return slot;
}

// The frame is decided by the first use; the entry may say something else by now. A use in force is one that some
// handle stands for; those of a domain that dies go before it does.
u64 World::frame_in_use(u32 granter, u32 ref) const {
    for (const auto& [key, held] : held_) {
        if (held.granter == granter && held.ref == ref && !slots_[key.first].dying)
            return held.frame;
    }
    return 0;
}

void World::note_mapped(u64 at) {
    auto op = m_.get<gnttab_map_grant_ref_t>(at);
    if (op.status != GNTST_okay)
        return;
    op.status = noted;
    m_.put(op, at);
    const u32 granter = slot_of(op.dom);
    if (granter == slots || op.ref < first_ref || op.ref >= first_ref + refs)
        return model_.fail("a grant was mapped that nobody made");
    const GrantEntry entry = grant_entry(granter, op.ref);
    u64 frame = frame_in_use(granter, op.ref);
    // Later calls of a multicall may have written to the caller's own table.
    const bool may_differ = granter == slot_ && me().pending[vcpu_].number == __HYPERVISOR_multicall;
    if (!may_differ &&
        (!entry.allows(domain().id.n, (op.flags & GNTMAP_readonly) == 0) || (frame == 0 && entry.is_part())))
        model_.fail("a grant was mapped that its granter's entry does not allow");
    if (frame == 0)
        frame = entry.frame;
    held_[{slot_, op.handle}] = {granter, op.ref, op.flags, frame, op.host_addr};
    me().handles.push_back(op.handle);
    if ((op.flags & GNTMAP_host_map) == 0)
        return;
    Rights& rights = model_.rights[{domain().id.n, frame}];
    ++rights.any;
    rights.write += (op.flags & GNTMAP_readonly) == 0;
}

// As its entry stands before the copy, which may change it.
bool World::may_copy(const gnttab_copy::gnttab_copy_ptr& side, u32 length, bool writing) {
    const u32 granter = slot_of(side.domid);
    if (granter == slots)
        return false;
    const GrantEntry entry = grant_entry(granter, side.u.ref);
    if (!entry.allows(domain().id.n, writing))
        return false;
    for (const auto& [key, held] : held_) {
        if (held.granter == granter && held.ref == side.u.ref)
            return true; // in use (or by a domain that dies, perhaps): mapped, so it was the whole page then
    }
    return side.offset >= entry.start && side.offset + length <= entry.start + entry.length;
}

void World::copy_grant(Choices& c) {
    gnttab_copy_t op{};
    const Slot& granter = slots_[other_slot(c)];
    const u16 id = granter.domain ? granter.domain->id.n : u16{0};
    op.flags = static_cast<u16>(c.pick(4));
    op.source.domid = op.flags & GNTCOPY_source_gref ? id : static_cast<domid_t>(DOMID_SELF);
    op.dest.domid = op.flags & GNTCOPY_dest_gref ? id : static_cast<domid_t>(DOMID_SELF);
    if (op.flags & GNTCOPY_source_gref)
        op.source.u.ref = first_ref + static_cast<u32>(c.pick(refs));
    else
        op.source.u.gmfn = any_frame(c).n;
    if (op.flags & GNTCOPY_dest_gref)
        op.dest.u.ref = first_ref + static_cast<u32>(c.pick(refs));
    else
        op.dest.u.gmfn = any_frame(c).n;
    op.len = static_cast<u16>(8 * c.pick(513));
    op.dest.offset = static_cast<u16>(8 * c.pick(4));
    op.status = unanswered;
    const bool from = (op.flags & GNTCOPY_source_gref) == 0 || may_copy(op.source, op.len, false);
    const bool to = (op.flags & GNTCOPY_dest_gref) == 0 || may_copy(op.dest, op.len, true);
    m_.put(op, area() + 0x6000);
    call(__HYPERVISOR_grant_table_op, {GNTTABOP_copy, area() + 0x6000, 1});
    if (m_.get<gnttab_copy_t>(area() + 0x6000).status == GNTST_okay && !(from && to))
        model_.fail("a grant was copied that its granter's entry does not allow");
}

} // namespace domus::guard
