// map_grant_ref, unmap_grant_ref, unmap_and_replace: batches of mappings of others' frames.
// Locks: none across a whole operation; see core/grants_state.hpp. Called by grant_table_op.
//
// ISOLATION, grants: map and unmap are symmetric. Each kind of use (host mapping, device mapping) has one pin and one
// set of frame references of its own. An unmapped grant's in-use mark is taken back only after the translations are
// flushed, once per group of operations.
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/grant_batch.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/trace.hpp"

namespace domus::hv {
namespace {

constexpr u32 use_kinds = GNTMAP_device_map | GNTMAP_host_map;
constexpr u32 known_flags = use_kinds | GNTMAP_readonly | GNTMAP_application_map | GNTMAP_contains_pte;

Access access_of(u32 flags) {
    return flags & GNTMAP_readonly ? Access::Read : Access::Write;
}

// ---- map ----

i16 pin_for_map(Domain& mapper, Domain& granter, const gnttab_map_grant_ref_t& op, Pinned& pinned) {
    return pin_grant(granter, GrantRef(op.ref), mapper.id, access_of(op.flags), Use::Map, pinned);
}

void unpin_for_map(Domain& granter, const gnttab_map_grant_ref_t& op, Mfn frame) {
    drop_frame(frame, access_of(op.flags));
    unpin_grant(granter, GrantRef(op.ref), access_of(op.flags));
}

i16 map_host(Domain& mapper, Domain& granter, const gnttab_map_grant_ref_t& op, Pinned& pinned) {
    if (const i16 bad = pin_for_map(mapper, granter, op, pinned))
        return bad;
    if (auto mapped = map_grant_pte(mapper, {op.host_addr, op.flags, pinned.frame}); !mapped) {
        why(mapper, "map_grant_ref: no entry for the mapping at {x}", op.host_addr);
        unpin_for_map(granter, op, pinned.frame);
        return status_of(mapped.error());
    }
    return GNTST_okay;
}

// Device mapping first: undoing it needs no page table and no flush.
i16 map_kinds(Domain& mapper, Domain& granter, const gnttab_map_grant_ref_t& op, Pinned& pinned) {
    if (op.flags & GNTMAP_device_map) {
        if (const i16 bad = pin_for_map(mapper, granter, op, pinned))
            return bad;
    }
    if (op.flags & GNTMAP_host_map) {
        if (const i16 bad = map_host(mapper, granter, op, pinned)) {
            if (op.flags & GNTMAP_device_map)
                unpin_for_map(granter, op, pinned.frame);
            return bad;
        }
    }
    return GNTST_okay;
}

i16 map_one(Call& call, gnttab_map_grant_ref_t& op) {
    if ((op.flags & use_kinds) == 0 || (op.flags & ~(known_flags | GNTMAP_guest_avail_mask)) != 0)
        return GNTST_bad_gntref;
    DomainRef granter = find_domain(DomId(op.dom));
    if (!granter)
        return GNTST_bad_domain;
    const u32 handle = reserve_mapping(call.domain, *granter);
    if (handle == no_handle) {
        why(call.domain, "map_grant_ref: no mapping handle is left");
        return GNTST_no_space;
    }
    Pinned pinned{};
    const i16 status = map_kinds(call.domain, *granter, op, pinned);
    if (status != GNTST_okay) {
        why(call.domain, "map_grant_ref: reference {} of d{}: status {}", op.ref, op.dom, status);
        free_mapping(call.domain, handle);
        return status;
    }
    commit_mapping(call.domain, handle, op.ref, op.flags, pinned.frame);
    op.handle = handle;
    op.dev_bus_addr = op.flags & GNTMAP_device_map ? base_of(pinned.frame).n : 0;
    trace(TraceEvent::GrantMap, op.dom, op.ref, pinned.frame.n);
    return GNTST_okay;
}

// ---- unmap ----

// What was unmapped and still has to be flushed and given back.
struct Unmapped {
    static constexpr u32 most = 32;
    struct Item {
        Domain* granter;
        Mfn frame;
        u32 handle, ref;
        Access access;
        bool last; // nothing of the mapping is left: the handle goes too
    };
    std::array<Item, most> items;
    u32 count = 0;
    bool must_flush = false;

    // Drop the references, flush, then take back the in-use marks. Dropped references alone let nobody reuse a frame
    // before a flush (frame_table.hpp: stale translations), so that this one flush is the only one; the marks may go
    // only after it, because the granter reuses the frame when they do.
    void settle(Domain& mapper) {
        for (u32 i = 0; i < count; ++i)
            drop_frame(items[i].frame, items[i].access);
        if (must_flush) {
            note_stale_translations(); // dropping read-only references alone does not
            flush_stale_translations();
        }
        for (u32 i = 0; i < count; ++i) {
            const Item& item = items[i];
            unpin_grant(*item.granter, GrantRef(item.ref), item.access);
            if (item.last)
                free_mapping(mapper, item.handle);
        }
        count = 0;
        must_flush = false;
    }
};

struct UnmapRequest {
    u64 host_addr, dev_bus_addr, new_addr;
    u32 handle;
    bool replace;
};

i16 unmap_host(Domain& mapper, const UnmapRequest& request, const Mapping& mapping) {
    const GrantMapRequest entry{request.host_addr, mapping.flags, mapping.frame};
    const auto done =
        request.replace ? replace_grant_pte(mapper, entry, request.new_addr) : unmap_grant_pte(mapper, entry);
    if (!done) {
        why(mapper, "unmap_grant_ref: the entry at {x} does not map handle {}", request.host_addr, request.handle);
        return status_of(done.error());
    }
    return GNTST_okay;
}

// Undo the kinds asked for; `left` are the kinds that remain.
i16 unmap_kinds(Domain& mapper, const UnmapRequest& request, const Mapping& mapping, u32& left, u32& undone) {
    if (request.dev_bus_addr != 0) {
        if (!(left & GNTMAP_device_map) || request.dev_bus_addr != base_of(mapping.frame).n)
            return GNTST_bad_dev_addr;
        undone |= GNTMAP_device_map;
    }
    if (request.host_addr != 0 && (left & GNTMAP_host_map)) {
        if (const i16 bad = unmap_host(mapper, request, mapping)) {
            undone = 0; // all or nothing
            return bad;
        }
        undone |= GNTMAP_host_map;
    }
    left &= ~undone;
    return GNTST_okay;
}

i16 unmap_one(Call& call, const UnmapRequest& request, Unmapped& batch) {
    Mapping mapping;
    if (!take_mapping(call.domain, request.handle, mapping)) {
        why(call.domain, "unmap_grant_ref: handle {} maps nothing", request.handle);
        return GNTST_bad_handle;
    }
    u32 left = mapping.flags & use_kinds, undone = 0;
    const i16 status = unmap_kinds(call.domain, request, mapping, left, undone);
    const bool gone = left == 0;
    for (u32 kind : {u32{GNTMAP_device_map}, u32{GNTMAP_host_map}}) {
        if (!(undone & kind))
            continue;
        const bool last = gone && kind == (undone & GNTMAP_host_map ? u32{GNTMAP_host_map} : u32{GNTMAP_device_map});
        batch.items[batch.count++] = {mapping.granter,          mapping.frame, request.handle, mapping.ref,
                                      access_of(mapping.flags), last};
        batch.must_flush |= kind == GNTMAP_host_map;
        trace(TraceEvent::GrantUnmap, mapping.granter->id.n, mapping.ref, mapping.frame.n);
    }
    if (!gone)
        restore_mapping(call.domain, request.handle, (mapping.flags & ~use_kinds) | left);
    return status;
}

UnmapRequest request_of(const gnttab_unmap_grant_ref_t& op) {
    return {op.host_addr, op.dev_bus_addr, 0, op.handle, false};
}
UnmapRequest request_of(const gnttab_unmap_and_replace_t& op) {
    return {op.host_addr, 0, op.new_addr, op.handle, true};
}

// The status is written before the group is flushed; the promise is about the end of the hypercall, and every way out
// of it settles first.
template <class Op>
Result<i64> unmap_batch(Call& call, u32 command, u64 arguments, u32 count) {
    Unmapped batch;
    auto result = for_each_op<Op>(call, command, arguments, count, [&](Op& op) {
        op.status = unmap_one(call, request_of(op), batch);
        if (batch.count + 2 > Unmapped::most)
            batch.settle(call.domain);
    });
    batch.settle(call.domain);
    return result;
}

} // namespace

Result<i64> grant_map(Call& call, u64 arguments, u32 count) {
    return for_each_op<gnttab_map_grant_ref_t>(call, GNTTABOP_map_grant_ref, arguments, count,
                                               [&](auto& op) { op.status = map_one(call, op); });
}

Result<i64> grant_unmap(Call& call, u64 arguments, u32 count) {
    return unmap_batch<gnttab_unmap_grant_ref_t>(call, GNTTABOP_unmap_grant_ref, arguments, count);
}

Result<i64> grant_unmap_and_replace(Call& call, u64 arguments, u32 count) {
    return unmap_batch<gnttab_unmap_and_replace_t>(call, GNTTABOP_unmap_and_replace, arguments, count);
}

} // namespace domus::hv
