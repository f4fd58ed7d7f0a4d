// Versions of the grant table: switching between v1 and v2 entries, swapping entries. Lock: Rank::Grants.
// ISOLATION, grants v2: only while nothing is in use; the reserved entries survive, all others are cleared; status
// frames come before the switch, so that it cannot fail half-way.
#include "hypervisor/core/grant_version.hpp"

#include "hypervisor/core/frame_table.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

struct Reserved {
    std::array<grant_entry_v2_t, GNTTAB_NR_RESERVED_ENTRIES> entries{};
};

bool is_plain(u16 flags) {
    return (flags & GTF_type_mask) == GTF_permit_access && !(flags & GTF_sub_page);
}

// Each entry is read once; what cannot be said in the other version is dropped.
Reserved save_reserved(Table& t) {
    Reserved saved;
    for (u32 i = 0; i < GNTTAB_NR_RESERVED_ENTRIES; ++i) {
        auto& out = saved.entries[i];
        if (t.version == 1) {
            grant_entry_v1_t in;
            std::memcpy(&in, t.v1(GrantRef(i)), sizeof in);
            out.full_page.hdr = {in.flags, in.domid};
            out.full_page.frame = in.frame;
        } else {
            std::memcpy(&out, t.v2(GrantRef(i)), sizeof out);
        }
        if (!is_plain(out.hdr.flags))
            out = {};
    }
    return saved;
}

void restore_reserved(Table& t, const Reserved& saved) {
    for (u32 i = 0; i < GNTTAB_NR_RESERVED_ENTRIES; ++i) {
        const auto& in = saved.entries[i];
        if (t.version == 2) {
            std::memcpy(t.v2(GrantRef(i)), &in, sizeof in);
        } else if (in.full_page.frame == static_cast<u32>(in.full_page.frame)) {
            *t.v1(GrantRef(i)) = {in.hdr.flags, in.hdr.domid, static_cast<u32>(in.full_page.frame)};
        }
    }
}

} // namespace

Result<void> switch_version(Domain& d, Table& t, u32 version) {
    if (version == t.version)
        return {};
    if (t.used != 0)
        return Err::Busy;
    if (t.gone)
        return Err::Inval;
    const u32 before = t.version;
    t.version = version;
    if (auto ready = ensure_backing(d, t); !ready) {
        t.version = before;
        return ready.error();
    }
    t.version = before;
    const Reserved saved = save_reserved(t);
    for (u32 i = 0; i < t.frame_count; ++i)
        arch::zero_frame(t.frames[i]);
    for (u32 i = 0; i < t.status_count; ++i)
        arch::zero_frame(t.status_frames[i]);
    t.version = version;
    restore_reserved(t, saved);
    return {};
}

i16 swap_entries(Table& t, GrantRef a, GrantRef b) {
    const ActiveGrant* used_a = t.gone ? nullptr : t.at(a);
    const ActiveGrant* used_b = t.gone ? nullptr : t.at(b);
    if (!used_a || !used_b)
        return GNTST_bad_gntref;
    if (used_a->is_used() || used_b->is_used())
        return GNTST_eagain;
    if (a == b)
        return GNTST_okay;
    if (t.version == 1)
        std::swap(*t.v1(a), *t.v1(b));
    else
        std::swap(*t.v2(a), *t.v2(b));
    return GNTST_okay;
}

} // namespace domus::hv
