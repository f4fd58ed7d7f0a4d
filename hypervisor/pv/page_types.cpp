// Validation and devalidation of L1..L4 and segment descriptor tables. Owner: no state of its own; progress of work
// that stopped is in the frame's type word. Called by core/frame_table.cpp with the frame's type locked to this CPU.
//
// ISOLATION kept here: unbounded work (tables above L1 stop and go on between entries); reserved top-level slots
// (filled by the hypervisor, whatever the guest left there); linear page tables (an entry leads to a table of exactly
// the level below, so no table is ever below itself: forbidden, documented in docs/memory.md).
#include "hypervisor/pv/page_types.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frame_hooks.hpp"
#include "hypervisor/core/frame_owner.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/mmu_entry.hpp"
#include "hypervisor/pv/page_entry.hpp"

namespace domus::hv {
namespace {

bool skips(FrameType level, u32 index) {
    return level == FrameType::L4 && is_hypervisor_slot(index);
}

// Once each: the value that is judged is the value that counts.
u64 load(const u64* entries, u32 index) {
    return __atomic_load_n(entries + index, __ATOMIC_RELAXED);
}

// Most entries of most tables are empty: whole groups in which nothing is present are passed over, large ones first.
constexpr u32 group = 8, large_group = 32;
template <u32 size>
[[gnu::always_inline]] inline bool is_empty_group(const u64* entries, u32 first) {
    // Plain loads, which the compiler folds into the ORs: nobody writes a table while it is judged, and no value is
    // kept.
    const u64* here = entries + first;
    u64 all = 0;
#pragma GCC unroll 32
    for (u32 i = 0; i < size; ++i)
        all |= here[i];
    return !entry::is_present(all);
}
[[gnu::noinline]] u32 skip_groups(const u64* entries, u32 from) {
    for (;;) {
        while (from % large_group == 0 && from < table_entries && is_empty_group<large_group>(entries, from))
            from += large_group;
        if (from >= table_entries || !is_empty_group<group>(entries, from))
            return from;
        from += group;
    }
}
[[gnu::noinline]] u32 skip_groups_below(const u64* entries, u32 end) {
    for (;;) {
        while (end % large_group == 0 && end > 0 && is_empty_group<large_group>(entries, end - large_group))
            end -= large_group;
        if (end == 0 || !is_empty_group<group>(entries, end - group))
            return end;
        end -= group;
    }
}
u32 skip_empty(const u64* entries, u32 from) {
    return from % group == 0 ? skip_groups(entries, from) : from;
}
u32 skip_empty_below(const u64* entries, u32 end) {
    return end % group == 0 ? skip_groups_below(entries, end) : end;
}

void store_if_changed(Mfn table, u32 index, u64 raw, u64 value) {
    if (value != raw)
        arch::write_entry(table, index, value);
}

Result<void> validate_l1(Mfn table, Domain& owner, u32& progress) {
    const u64* entries = arch::frame_as<u64>(table);
    const DataOwner from = own_frames(owner);
    for (; (progress = skip_empty(entries, progress)) < table_entries; ++progress) {
        const u64 raw = load(entries, progress);
        if (!entry::is_present(raw))
            continue;
        const u64 value = entry::stored(raw);
        TRY(take_target(value, from, owner));
        store_if_changed(table, progress, raw, value);
    }
    return {};
}

Result<void> validate_upper(Mfn table, FrameType level, Domain& owner, u32& progress) {
    const u64* entries = arch::frame_as<u64>(table);
    bool worked = false;
    for (; (progress = skip_empty(entries, progress)) < table_entries; ++progress) {
        const u64 raw = load(entries, progress);
        if (!entry::is_present(raw) || skips(level, progress))
            continue;
        if (worked && must_yield())
            return Err::Restart;
        const u64 value = entry::stored(raw);
        TRY(take_child(value, level, owner, owner));
        store_if_changed(table, progress, raw, value);
        worked = true;
    }
    if (level == FrameType::L4)
        arch::copy_hypervisor_slots(table);
    return {};
}

Result<void> validate_segments(Mfn table, u32& progress) {
    const u64* entries = arch::frame_as<u64>(table);
    for (; progress < table_entries; ++progress) {
        const u64 raw = load(entries, progress);
        store_if_changed(table, progress, raw, TRY(stored_descriptor(raw)));
    }
    return {};
}

void release_l1(Mfn table, u32& progress) {
    const u64* entries = arch::frame_as<u64>(table);
    for (; (progress = skip_empty_below(entries, progress)) > 0; --progress) {
        const u64 raw = load(entries, progress - 1);
        if (entry::is_present(raw))
            drop_target(raw);
    }
}

Result<void> release_upper(Mfn table, FrameType level, u32& progress) {
    const u64* entries = arch::frame_as<u64>(table);
    bool worked = false;
    for (; (progress = skip_empty_below(entries, progress)) > 0; --progress) {
        const u64 raw = load(entries, progress - 1);
        if (!entry::is_present(raw) || skips(level, progress - 1))
            continue;
        if (worked && must_yield())
            return Err::Restart;
        TRY(drop_child(raw));
        worked = true;
    }
    return {};
}

} // namespace

Result<void> validate_entries(Mfn table, FrameType level, u32& progress) {
    Domain* owner = frame_info(table).owner.load(std::memory_order_relaxed);
    if (!owner || owner->life.load() == Life::Dying)
        return Err::Inval;
    count(*owner, Count::TablesValidated);
    Result<void> result = level == FrameType::Segments ? validate_segments(table, progress)
                          : level == FrameType::L1     ? validate_l1(table, *owner, progress)
                                                       : validate_upper(table, level, *owner, progress);
    if (!result && result.error() != Err::Restart)
        why(*owner, "frame {x} cannot be a table of level {}: entry {} is refused", table, static_cast<u8>(level),
            progress);
    return result;
}

Result<void> release_entries(Mfn table, FrameType level, u32& progress) {
    if (level == FrameType::Segments) {
        progress = 0;
        return {};
    }
    if (level != FrameType::L1)
        return release_upper(table, level, progress);
    release_l1(table, progress);
    return {};
}

Result<u64> stored_descriptor(u64 asked) {
    constexpr u64 present = u64{1} << 47;
    constexpr u64 code_or_data = u64{1} << 44;
    constexpr u64 ring3 = u64{3} << 45;
    constexpr u64 accessed = u64{1} << 40; // else the CPU would write to the table when the segment is loaded
    if ((asked & present) == 0)
        return asked;
    if ((asked & code_or_data) == 0)
        return Err::Inval;
    return asked | ring3 | accessed;
}

Result<void> pin(Domain& owner, Mfn mfn, FrameType level) {
    const auto got = get_frame_and_type(mfn, owner, level);
    if (!got)
        return got.error() == Err::Busy ? Err::Inval : got.error(); // in use as something else: as Xen answers
    const u64 before = frame_info(mfn).type.fetch_or(TypeWord::Pinned, std::memory_order_acq_rel);
    if ((before & TypeWord::Pinned) == 0)
        return {};
    put_frame_and_type(mfn); // pinned already: that pin holds one, so this is not the last
    why(owner, "frame {x} is pinned already", mfn);
    return Err::Inval;
}

Result<void> pin_table(Domain& owner, Mfn mfn, FrameType level) {
    for (;;) {
        auto done = pin(owner, mfn, level);
        if (done || done.error() != Err::Restart)
            return done;
    }
}

bool take_pin(Mfn mfn) {
    const u64 before = frame_info(mfn).type.fetch_and(~u64{TypeWord::Pinned}, std::memory_order_acq_rel);
    return (before & TypeWord::Pinned) != 0;
}

Result<void> unpin(Vcpu& vcpu, Domain& owner, Mfn mfn) {
    TRY(get_frame(mfn, owner));
    const bool pinned = take_pin(mfn);
    put_frame(mfn);
    if (!pinned) {
        why(owner, "frame {x} is not pinned", mfn);
        return Err::Inval;
    }
    put_table(vcpu, mfn);
    return {};
}

} // namespace domus::hv
