// Grants, and the guard's own book of who was granted what: an answer "mapped" must be covered by what the granter's
// shared entry said. See world.hpp.
#include "hypervisor/pv/page_entry.hpp"
#include "tests/guard/world.hpp"

namespace domus::guard {
namespace {

constexpr u32 first_ref = 8, refs = 16, most_ops = 3;
constexpr i16 unanswered = 0x7777, noted = 0x7778;
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
    grant_entry_v1_t& entry = entries[first_ref + c.pick(refs)];
    entry.flags = static_cast<u16>(c.of(flags, std::size(flags)) | (entry.flags & (GTF_reading | GTF_writing)));
    entry.domid = other.domain ? other.domain->id.n : 0;
    entry.frame = static_cast<u32>(any_frame(c).n);
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

void World::unmap_grant(Choices& c) {
    if (me().handles.empty())
        return;
    const u32 handle = c.one_in(10) ? static_cast<u32>(c.pick(64)) : me().handles[c.pick(me().handles.size())];
    const auto held = held_.find({slot_, handle});
    const u64 address = held != held_.end() && !c.one_in(5) ? held->second.address : any_address(c).n;
    const u64 at = area() + list_offset + 0x1000;
    u64 host = address, device = 0;
    i16 status = 0;
    if (c.one_in(3)) {
        gnttab_unmap_and_replace_t op{host, c.one_in(3) ? 0 : any_address(c).n, handle, unanswered};
        m_.put(op, at);
        call(__HYPERVISOR_grant_table_op, {GNTTABOP_unmap_and_replace, at, 1});
        status = m_.get<gnttab_unmap_and_replace_t>(at).status;
    } else {
        host = c.one_in(8) ? 0 : address;
        if (held != held_.end() && (held->second.flags & GNTMAP_device_map) != 0 && !c.one_in(4))
            device = held->second.frame << page_shift;
        gnttab_unmap_grant_ref_t op{};
        op.host_addr = host;
        op.dev_bus_addr = device;
        op.handle = handle;
        op.status = unanswered;
        m_.put(op, at);
        call(__HYPERVISOR_grant_table_op, {GNTTABOP_unmap_grant_ref, at, 1});
        status = m_.get<gnttab_unmap_grant_ref_t>(at).status;
    }
    if (held != held_.end() && status == GNTST_okay)
        note_unmapped(held, host != 0, device != 0);
}

// What was undone of a mapping, which may be of two kinds. An address of 0 names no entry.
void World::note_unmapped(std::map<std::pair<u32, u32>, Held>::iterator held, bool host, bool device) {
    u32& flags = held->second.flags;
    if (host && (flags & GNTMAP_host_map) != 0) {
        Rights& rights = model_.rights[{domain().id.n, held->second.frame}];
        --rights.any;
        rights.write -= (flags & GNTMAP_readonly) == 0;
        flags &= ~u32{GNTMAP_host_map};
    }
    if (device)
        flags &= ~u32{GNTMAP_device_map};
    if ((flags & (GNTMAP_host_map | GNTMAP_device_map)) == 0)
        held_.erase(held);
}

void World::note_grants(u32 command) {
    if (command == GNTTABOP_map_grant_ref) {
        for (u32 i = 0; i < most_ops; ++i)
            note_mapped(area() + list_offset + i * sizeof(gnttab_map_grant_ref_t));
    }
}

void World::note_mapped(u64 at) {
    auto op = m_.get<gnttab_map_grant_ref_t>(at);
    if (op.status != GNTST_okay)
        return;
    op.status = noted;
    m_.put(op, at);
    u32 granter = 0;
    while (granter < slots && !(slots_[granter].domain && slots_[granter].domain->id.n == op.dom))
        ++granter;
    if (granter == slots || op.ref < first_ref || op.ref >= first_ref + refs)
        return model_.fail("a grant was mapped that nobody made");
    // The frame is decided by the first use; the entry may say something else by now. A use in force is one that some
    // handle stands for; those of a domain that dies go before it does.
    u64 frame = 0;
    for (const auto& [key, held] : held_) {
        if (held.granter == granter && held.ref == op.ref && !slots_[key.first].dying)
            frame = held.frame;
    }
    const auto& entry = reinterpret_cast<const grant_entry_v1_t*>(m_.frame(slots_[granter].grant_frame))[op.ref];
    if (frame == 0)
        frame = entry.frame;
    if (entry.domid != domain().id.n || (entry.flags & GTF_type_mask) != GTF_permit_access ||
        ((op.flags & GNTMAP_readonly) == 0 && (entry.flags & GTF_readonly) != 0))
        model_.fail("a grant was mapped that its granter's entry does not allow");
    held_[{slot_, op.handle}] = {granter, op.ref, op.flags, frame, op.host_addr};
    me().handles.push_back(op.handle);
    if ((op.flags & GNTMAP_host_map) == 0)
        return;
    Rights& rights = model_.rights[{domain().id.n, frame}];
    ++rights.any;
    rights.write += (op.flags & GNTMAP_readonly) == 0;
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
    m_.put(op, area() + 0x6000);
    call(__HYPERVISOR_grant_table_op, {GNTTABOP_copy, area() + 0x6000, 1});
}

} // namespace domus::guard
