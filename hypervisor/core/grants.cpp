// The grant table of a domain: its frames, versions, beginning and end. Owner: Domain. Lock: Rank::Grants.
#include "hypervisor/core/grants.hpp"

#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/grants_state.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

Result<void> add_chunks(Table& t, u32 entries) {
    for (u32 i = 0; i < (entries + active_per_chunk - 1) / active_per_chunk; ++i) {
        if (!t.chunks[i])
            t.chunks[i] = make<ActiveChunk>();
        if (!t.chunks[i])
            return Err::NoMem;
    }
    return {};
}

Result<void> add_status_frames(Domain& d, Table& t, u32 frames) {
    const u32 wanted = (frames * v2_per_frame + status_per_frame - 1) / status_per_frame;
    while (t.status_count < wanted) {
        t.status_frames[t.status_count] = TRY(allocate_shared_frame(d));
        ++t.status_count;
    }
    return {};
}

void give_back_frames(Domain& d, Table& t) {
    for (u32 i = 0; i < t.frame_count; ++i)
        free_shared_frame(d, t.frames[i]);
    for (u32 i = 0; i < t.status_count; ++i)
        free_shared_frame(d, t.status_frames[i]);
    t.frame_count = t.status_count = 0;
    t.gone = true;
}

// One mapping of a dying domain. Its page-table entry, if there still is one, holds its own references and goes with
// the page tables; a device mapping's references are ours.
void release_mapping(Domain& mapper, u32 handle) {
    Mapping mapping;
    if (!take_mapping(mapper, handle, mapping))
        return;
    const Access access = mapping.flags & GNTMAP_readonly ? Access::Read : Access::Write;
    if (mapping.flags & GNTMAP_device_map) {
        drop_frame(mapping.frame, access);
        unpin_grant(*mapping.granter, GrantRef(mapping.ref), access);
    }
    if (mapping.flags & GNTMAP_host_map)
        unpin_grant(*mapping.granter, GrantRef(mapping.ref), access);
    free_mapping(mapper, handle);
}

} // namespace

i16 status_of(Err error) {
    switch (error) {
    case Err::Srch:
        return GNTST_bad_domain;
    case Err::Perm:
        return GNTST_permission_denied;
    case Err::Fault:
        return GNTST_bad_virt_addr;
    case Err::NoMem:
    case Err::NoSpace:
        return GNTST_no_space;
    default:
        return GNTST_general_error;
    }
}

GrantTable::GrantTable(Domain& owner) : owner_(owner), state_(make<GrantState>()) {}

GrantTable::~GrantTable() {
    if (!state_)
        return;
    // Nobody else knows the domain any more, and give_back_table() was called.
    for (ActiveChunk* chunk : state_->table.unguarded().chunks)
        destroy(chunk);
    for (MappingChunk* chunk : state_->maptrack.unguarded().chunks)
        destroy(chunk);
    destroy(state_);
}

Result<void> GrantTable::start(u32 max_frames, u32 max_maptrack_frames, u32 max_version) {
    if (!state_)
        return Err::NoMem;
    if (max_frames == 0 || max_frames > most_grant_frames || max_version < 1 || max_version > 2)
        return Err::Inval;
    state_->maptrack.with([&](Maptrack& m) { m.max_chunks = std::min(max_maptrack_frames, most_maptrack_chunks); });
    return state_->table.with([&](Table& t) -> Result<void> {
        t.max_frames = max_frames;
        t.max_version = max_version;
        return grow_table(owner_, t, 1);
    });
}

Result<void> ensure_backing(Domain& d, Table& t) {
    TRY(add_chunks(t, t.frame_count * (t.version == 1 ? v1_per_frame : v2_per_frame)));
    return t.version == 2 ? add_status_frames(d, t, t.frame_count) : Result<void>();
}

Result<void> grow_table(Domain& d, Table& t, u32 frames) {
    if (frames > t.max_frames || t.gone)
        return Err::Inval;
    if (frames <= t.frame_count)
        return {};
    TRY(add_chunks(t, frames * (t.version == 1 ? v1_per_frame : v2_per_frame)));
    if (t.version == 2)
        TRY(add_status_frames(d, t, frames));
    while (t.frame_count < frames) {
        t.frames[t.frame_count] = TRY(allocate_shared_frame(d));
        ++t.frame_count;
    }
    return {};
}

Result<Mfn> GrantTable::frame_for_guest(u32 index, bool status) {
    return state_->table.with([&](Table& t) -> Result<Mfn> {
        if (index >= most_grant_frames || (status && t.version != 2))
            return Err::Inval;
        const u32 frames = status ? (index + 1) * (status_per_frame / v2_per_frame) : index + 1;
        if (status ? index >= t.status_count : index >= t.frame_count)
            TRY(grow_table(owner_, t, status ? std::min(frames, t.max_frames) : frames));
        if (status && index >= t.status_count)
            return Err::Inval;
        return status ? t.status_frames[index] : t.frames[index];
    });
}

u32 GrantTable::version() const {
    return state_->table.with([](Table& t) { return t.version; });
}

Result<void> GrantTable::release_mappings(Call&) {
    if (!state_)
        return {};
    for (;;) {
        const u32 handle = state_->maptrack.with([](Maptrack& m) {
            return m.release_cursor < m.chunk_count * mappings_per_chunk ? m.release_cursor++ : no_handle;
        });
        if (handle == no_handle)
            break;
        release_mapping(owner_, handle);
        if (handle % 64 == 63 && must_yield())
            return Err::Restart;
    }
    give_back_table();
    return {};
}

void GrantTable::give_back_table() {
    // The frames may be mapped by others still (control tools): they go with the last mapping.
    if (state_)
        state_->table.with([&](Table& t) { give_back_frames(owner_, t); });
}

} // namespace domus::hv
