// A domain's own grant table: its version, its frames and those of its status words, its entries of version 2.
// See world.hpp.
#include "tests/guard/world.hpp"

#include <algorithm>

namespace domus::guard {
namespace {

constexpr u64 argument_offset = 0x7000, frames_offset = 0x7800;

} // namespace

void World::grant_tables(Choices& c) {
    switch (c.pick(8)) {
    case 0:
    case 1:
        return set_version(c);
    case 2:
        return list_status_frames(c);
    case 3:
        return slot_ == 0 ? acquire_frames(c) : swap_grants(c);
    case 4:
    case 5:
        return write_grant_entry(c);
    case 6:
        return copy_grant(c);
    default:
        return map_grant(c);
    }
}

// A switch leaves no entry behind that could mean something else than its granter wrote, and none that is in use.
void World::set_version(Choices& c) {
    const u32 wanted = static_cast<u32>(c.one_in(12) ? c.pick(5) : 1 + c.pick(2));
    const u32 before = me().version;
    m_.put(gnttab_set_version_t{wanted}, area() + argument_offset);
    const bool done = call(__HYPERVISOR_grant_table_op, {GNTTABOP_set_version, area() + argument_offset, 1}) == 0;
    const u32 now = m_.get<gnttab_set_version_t>(area() + argument_offset).version;
    if (done ? now != wanted || now < 1 || now > 2 : wanted >= 1 && wanted <= 2 && now != before)
        model_.fail("a grant table is of a version that nobody asked for");
    if (!done)
        return;
    me().version = now;
    if (now == before)
        return;
    for (u32 ref = first_ref; ref < first_ref + refs; ++ref) {
        if (frame_in_use(slot_, ref) != 0)
            model_.fail("a grant table changed its version while a grant was in use");
        if (grant_entry(slot_, ref).flags != 0)
            model_.fail("a grant came through a change of the table's version");
    }
}

void World::list_status_frames(Choices& c) {
    gnttab_get_status_frames_t op{};
    op.nr_frames = c.one_in(8) ? static_cast<u32>(c.pick(4)) : 1;
    op.dom = DOMID_SELF;
    op.status = unanswered;
    op.frame_list.p = reinterpret_cast<uint64_t*>(area() + frames_offset);
    m_.put(op, area() + argument_offset);
    const i64 result = call(__HYPERVISOR_grant_table_op, {GNTTABOP_get_status_frames, area() + argument_offset, 1});
    if (result == 0 && m_.get<gnttab_get_status_frames_t>(area() + argument_offset).status == GNTST_okay)
        note_shared_frames(slot_, area() + frames_offset, op.nr_frames);
}

// A privileged domain asks for another's, which may make them.
void World::acquire_frames(Choices& c) {
    xen_mem_acquire_resource_t request{};
    const Slot& target = slots_[other_slot(c)]; // not the controller, which keeps what it got
    request.domid = target.domain ? target.domain->id.n : static_cast<domid_t>(DOMID_SELF);
    request.type = XENMEM_resource_grant_table;
    request.id = c.one_in(2) ? XENMEM_resource_grant_table_id_status : XENMEM_resource_grant_table_id_shared;
    request.frame = c.pick(2);
    request.nr_frames = 1 + static_cast<u32>(c.pick(2));
    request.frame_list.p = reinterpret_cast<xen_pfn_t*>(area() + frames_offset);
    m_.put(request, area() + argument_offset);
    if (call(__HYPERVISOR_memory_op, {XENMEM_acquire_resource, area() + argument_offset}) == 0)
        note_shared_frames(slot_of(request.domid), area() + frames_offset, request.nr_frames);
}

void World::note_shared_frames(u32 slot, u64 list, u32 count) {
    if (slot == slots || slots_[slot].dying) // a dying domain's may go at any moment
        return;
    for (u32 i = 0; i < count; ++i)
        model_.shared[m_.get<u64>(list + i * sizeof(u64))] = static_cast<u8>(slot);
}

void World::swap_grants(Choices& c) {
    gnttab_swap_grant_ref_t op{};
    op.ref_a = first_ref + static_cast<u32>(c.pick(refs));
    op.ref_b = first_ref + static_cast<u32>(c.pick(refs));
    op.status = unanswered;
    const bool used = frame_in_use(slot_, op.ref_a) != 0 || frame_in_use(slot_, op.ref_b) != 0;
    m_.put(op, area() + argument_offset);
    call(__HYPERVISOR_grant_table_op, {GNTTABOP_swap_grant_ref, area() + argument_offset, 1});
    if (m_.get<gnttab_swap_grant_ref_t>(area() + argument_offset).status == GNTST_okay && used)
        model_.fail("a grant was swapped while it was in use");
}

void World::store_grant_v2(Choices& c, u32 ref, u16 flags, u16 domid, u64 frame) {
    grant_entry_v2_t entry{};
    if (flags != 0 && c.one_in(8))
        flags = static_cast<u16>((flags & ~GTF_type_mask) | GTF_transitive);
    if (c.one_in(3)) {
        flags |= GTF_sub_page;
        entry.sub_page.page_off = static_cast<u16>(c.one_in(2) ? 0 : 64 * c.pick(66));
        entry.sub_page.length = static_cast<u16>(c.one_in(4) ? page_size : 64 * c.pick(66));
    }
    entry.hdr.flags = flags;
    entry.hdr.domid = domid;
    entry.full_page.frame = frame; // where a sub-page's and a transitive grant's lie, too
    reinterpret_cast<grant_entry_v2_t*>(m_.frame(me().grant_frame))[ref] = entry;
}

GrantEntry World::grant_entry(u32 slot, u32 ref) const {
    const Slot& s = slots_[slot];
    if (s.version == 1) {
        const auto& entry = reinterpret_cast<const grant_entry_v1_t*>(m_.frame(s.grant_frame))[ref];
        return {entry.flags, entry.domid, entry.frame};
    }
    const auto& entry = reinterpret_cast<const grant_entry_v2_t*>(m_.frame(s.grant_frame))[ref];
    GrantEntry said{entry.hdr.flags, entry.hdr.domid, entry.full_page.frame};
    if ((said.flags & GTF_sub_page) != 0) {
        said.start = entry.sub_page.page_off;
        said.length = entry.sub_page.length;
    }
    return said;
}

} // namespace domus::guard
