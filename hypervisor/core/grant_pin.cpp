// Using a grant: judge the shared entry, mark it in use, keep what was decided. Lock: Rank::Grants of the granter.
//
// ISOLATION, grants: counts and pins. The order is pin, then frame reference, then (by the caller) track; undone in
// the opposite order. The guest may change its entry at any moment: flags and domain are read together in one word,
// the in-use mark is set by compare-and-swap on that very word (v1) or checked again after it (v2), and the frame is
// read once after that. Attempts are bounded.
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/grants_state.hpp"
#include "hypervisor/core/log.hpp"

namespace domus::hv {
namespace {

constexpr int most_tries = 8;

// flags in the low half, domain in the high half: as they lie in memory in both versions.
struct Header {
    u32 raw;
    u16 flags() const { return static_cast<u16>(raw); }
    u16 domain() const { return static_cast<u16>(raw >> 16); }
};
static_assert(offsetof(grant_entry_header_t, flags) == 0 && offsetof(grant_entry_header_t, domid) == 2);

u32* header_word(Table& t, GrantRef ref) {
    return t.version == 1 ? reinterpret_cast<u32*>(t.v1(ref)) : reinterpret_cast<u32*>(t.v2(ref));
}

u16 marks_for(Access access) {
    return access == Access::Write ? GTF_reading | GTF_writing : GTF_reading;
}

i16 judge(Header h, DomId user, Access access) {
    // Transitive grants are not offered (ISOLATION: grants v2), transfers neither.
    if ((h.flags() & GTF_type_mask) != GTF_permit_access)
        return GNTST_general_error;
    if (h.domain() != user.n)
        return GNTST_general_error;
    if (access == Access::Write && (h.flags() & GTF_readonly))
        return GNTST_general_error;
    return GNTST_okay;
}

i16 mark_v1(u32* word, DomId user, Access access, Header& seen) {
    seen.raw = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    for (int i = 0; i < most_tries; ++i) {
        if (const i16 bad = judge(seen, user, access))
            return bad;
        if (__atomic_compare_exchange_n(word, &seen.raw, seen.raw | marks_for(access), false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
            return GNTST_okay;
    }
    return GNTST_general_error;
}

// v2 marks lie apart from the flags. Set them, then see that the entry still says the same; the granter does it the
// other way round when it revokes.
i16 mark_v2(u32* word, grant_status_t* status, DomId user, Access access, Header& seen) {
    for (int i = 0; i < most_tries; ++i) {
        seen.raw = __atomic_load_n(word, __ATOMIC_SEQ_CST);
        if (const i16 bad = judge(seen, user, access))
            return bad;
        const u16 before = __atomic_fetch_or(status, marks_for(access), __ATOMIC_SEQ_CST);
        if (__atomic_load_n(word, __ATOMIC_SEQ_CST) == seen.raw)
            return GNTST_okay;
        __atomic_fetch_and(status, before | ~marks_for(access), __ATOMIC_SEQ_CST);
    }
    return GNTST_general_error;
}

i16 mark(Table& t, GrantRef ref, DomId user, Access access, Header& seen) {
    return t.version == 1 ? mark_v1(header_word(t, ref), user, access, seen)
                          : mark_v2(header_word(t, ref), t.status(ref), user, access, seen);
}

// Take back the marks that no pin needs any more.
void unmark(Table& t, GrantRef ref, const ActiveGrant& active) {
    if (t.gone)
        return;
    u16 unused = 0;
    if (!active.is_used())
        unused |= GTF_reading;
    if (active.writers == 0)
        unused |= GTF_writing;
    if (t.version == 1)
        __atomic_fetch_and(&t.v1(ref)->flags, static_cast<u16>(~unused), __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_and(t.status(ref), static_cast<u16>(~unused), __ATOMIC_SEQ_CST);
}

// First use: read the frame, once.
i16 fill(Table& t, GrantRef ref, DomId user, Header seen, ActiveGrant& active) {
    active.user = user.n;
    active.start = 0;
    active.length = page_size;
    if (t.version == 1) {
        active.frame = Mfn(__atomic_load_n(&t.v1(ref)->frame, __ATOMIC_RELAXED));
        return GNTST_okay;
    }
    grant_entry_v2_t* entry = t.v2(ref);
    active.frame = Mfn(__atomic_load_n(&entry->full_page.frame, __ATOMIC_RELAXED));
    if (seen.flags() & GTF_sub_page) {
        active.start = __atomic_load_n(&entry->sub_page.page_off, __ATOMIC_RELAXED);
        active.length = __atomic_load_n(&entry->sub_page.length, __ATOMIC_RELAXED);
        if (u64{active.start} + active.length > page_size)
            return GNTST_bad_gntref;
    }
    return GNTST_okay;
}

i16 take_references(Domain& granter, Mfn frame, Access access) {
    const auto got =
        access == Access::Write ? get_frame_and_type(frame, granter, FrameType::Writable) : get_frame(frame, granter);
    return got ? GNTST_okay : status_of(got.error());
}

// Everything between "marked" and "pinned". Nothing is kept on failure but the marks, which the caller takes back.
i16 use(Domain& granter, Table& t, GrantRef ref, DomId user, Access access, Use how, Header seen, ActiveGrant& active) {
    if (!active.is_used()) {
        if (const i16 bad = fill(t, ref, user, seen, active))
            return bad;
    } else if (active.user != user.n) {
        return GNTST_bad_gntref; // marked in use for somebody else: the granter broke the rules
    }
    if (how == Use::Map && active.length != page_size)
        return GNTST_bad_gntref; // part of a page may be copied, not mapped
    return take_references(granter, active.frame, access);
}

} // namespace

i16 pin_grant(Domain& granter, GrantRef ref, DomId user, Access access, Use how, Pinned& out) {
    return granter.grants.state()->table.with([&](Table& t) -> i16 {
        ActiveGrant* active = t.gone ? nullptr : t.at(ref);
        if (!active)
            return GNTST_bad_gntref;
        Header seen{};
        if (const i16 bad = mark(t, ref, user, access, seen))
            return bad;
        const i16 result = use(granter, t, ref, user, access, how, seen, *active);
        if (result != GNTST_okay) {
            unmark(t, ref, *active);
            return result;
        }
        if (!active->is_used())
            ++t.used;
        ++(access == Access::Write ? active->writers : active->readers);
        out = {active->frame, active->start, active->length};
        return GNTST_okay;
    });
}

void unpin_grant(Domain& granter, GrantRef ref, Access access) {
    granter.grants.state()->table.with([&](Table& t) {
        ActiveChunk* chunk = t.chunks[ref.n / active_per_chunk]; // pinned, so it is there whatever the table's size
        ActiveGrant& active = chunk->grants[ref.n % active_per_chunk];
        u32& pins = access == Access::Write ? active.writers : active.readers;
        assert_slow(pins != 0);
        --pins;
        if (!active.is_used())
            --t.used;
        unmark(t, ref, active);
    });
}

void drop_frame(Mfn frame, Access access) {
    if (access == Access::Write)
        put_type(frame);
    put_frame(frame);
}

} // namespace domus::hv
