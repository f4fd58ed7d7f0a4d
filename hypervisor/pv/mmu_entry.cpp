// One entry of a page table in force. See mmu_entry.hpp for who calls this and what protects it.
#include "hypervisor/pv/mmu_entry.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/mapped_frame.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/superpage.hpp"

namespace domus::hv {
namespace {

// Nothing that decides about references or cacheability differs: the frame, presence, cache attributes. Writing may
// be taken away but not given. (ISOLATION, page type confusion: the fast path looks at RW and PS itself.)
bool needs_no_new_reference(u64 old, u64 value) {
    constexpr u64 decisive = entry::present | entry::frame_mask | entry::cache_mask;
    return entry::is_present(old) && ((old ^ value) & decisive) == 0 && (value & ~old & entry::writable) == 0;
}

u64 with_access_bits(const EntryWrite& write, u64 old) {
    if (write.bits == AccessBits::Keep)
        return write.value | (old & (entry::accessed | entry::dirty));
    return write.value;
}

// Put the value there. On success `old` is what it replaced; false: a writer with an expectation lost.
bool replace_entry(const EntryWrite& write, u64& old) {
    for (;;) {
        if (write.expected && old != *write.expected)
            return false;
        if (arch::exchange_entry(write.table, write.index, old, entry::stored(with_access_bits(write, old))))
            return true;
    }
}

Result<void> refuse(const Domain& asking, std::string_view rule, u64 value) {
    why(asking, "page-table entry {x} refused: {}", value, rule);
    return Err::Inval;
}

// After a change that needed no new reference.
void drop_lost_right(u64 old, u64 value) {
    if (!entry::is_writable(old) || entry::is_writable(value))
        return;
    if (FrameInfo* info = find_frame(entry::frame(old)))
        drop_writing(*info, entry::frame(old));
}

// Only writing was taken away, or only bits without references changed.
Result<bool> write_l1_in_place(const EntryWrite& write) {
    u64 old = arch::read_entry(write.table, write.index);
    for (;;) {
        const u64 value = entry::stored(with_access_bits(write, old));
        if (!needs_no_new_reference(old, value))
            return false;
        if (write.expected && old != *write.expected)
            return Err::Again;
        if (!arch::exchange_entry(write.table, write.index, old, value))
            continue;
        drop_lost_right(old, value);
        return true;
    }
}

} // namespace

DataOwner own_frames(Domain& domain) {
    return {&domain, domain.privileged};
}

Result<void> take_target(u64 value, const DataOwner& from, const Domain& asking) {
    const Mfn mfn = entry::frame(value);
    FrameInfo* info = find_frame(mfn);
    if (!info) {
        if (!from.devices || !is_device_frame(mfn))
            return refuse(asking, "not RAM, and the domain may not map devices", value);
        return {};
    }
    if (!from.domain)
        return refuse(asking, "RAM, where only device frames were asked for", value);
    if ((value & entry::cache_mask) != 0 && !from.domain->privileged)
        return refuse(asking, "RAM is mapped write-back only", value);
    switch (take_mapped(*info, mfn, *from.domain, entry::is_writable(value))) {
    case Mapped::Yes:
        return {};
    case Mapped::NotOwned:
        return refuse(asking, "the frame is not the domain's", value);
    default:
        return refuse(asking, "a page table or descriptor table may not be mapped writable", value);
    }
}

void drop_target(u64 value) {
    const Mfn mfn = entry::frame(value);
    if (FrameInfo* info = find_frame(mfn))
        drop_mapped(*info, mfn, entry::is_writable(value));
}

Result<void> take_child(u64 value, FrameType level, Domain& owner, const Domain& asking) {
    if (is_superpage(value)) {
        if (const char* rule = superpage_refusal(value, level))
            return refuse(asking, rule, value);
        if (take_superpage(value, owner))
            return {};
        return refuse(asking, "a frame of the superpage is not the domain's, or a table and to be written", value);
    }
    if ((value & entry::upper_refused) != 0)
        return refuse(asking, "cache attributes are not offered above L1", value);
    const Mfn child = entry::frame(value);
    if (!get_frame(child, owner))
        return refuse(asking, "the lower table is not a frame of the domain's", value);
    auto got = get_type(child, level_below(level));
    if (got)
        return {};
    put_frame(child);
    if (got.error() == Err::Restart)
        return Err::Restart;
    return refuse(asking, "the frame cannot be a table of the level below", value);
}

Result<void> drop_child(u64 value) {
    if (is_superpage(value)) {
        drop_superpage(value);
        return {};
    }
    const Mfn child = entry::frame(value);
    TRY(put_type_preemptible(child));
    put_frame(child);
    return {};
}

Result<void> write_l1(const EntryWrite& write, const DataOwner& from, const Domain& asking) {
    if (entry::is_present(write.value)) {
        if (TRY(write_l1_in_place(write)))
            return {};
        TRY(take_target(write.value, from, asking));
    }
    u64 old = arch::read_entry(write.table, write.index);
    if (!replace_entry(write, old)) {
        if (entry::is_present(write.value))
            drop_target(write.value);
        return Err::Again;
    }
    if (entry::is_present(old))
        drop_target(old);
    return {};
}

u64 settle_l1(u64 old, u64 asked, const DataOwner& from, const Domain& asking) {
    const u64 value = entry::stored(asked);
    if (entry::is_present(value) && needs_no_new_reference(old, value)) {
        drop_lost_right(old, value);
        return value;
    }
    const bool fits = !entry::is_present(value) || take_target(value, from, asking);
    if (entry::is_present(old))
        drop_target(old);
    return fits ? value : 0;
}

namespace {

// What an entry above L1 stood for.
void put_child(Vcpu& vcpu, u64 value) {
    if (is_superpage(value))
        drop_superpage(value);
    else
        put_table(vcpu, entry::frame(value));
}

// What is below stays, with other flags, and no reference is to be taken: not a table that is unhooked (without the
// user bit), nor a table in place of a superpage or the other way round.
bool keeps_below(u64 old, u64 value) {
    constexpr u64 same = entry::frame_mask | entry::cache_mask | entry::present;
    if (!entry::is_present(old) || (old & entry::user) == 0 || ((old ^ value) & same) != 0)
        return false;
    return !is_superpage(old) || (value & ~old & entry::writable) == 0;
}

Result<bool> write_upper_in_place(const EntryWrite& write) {
    u64 old = arch::read_entry(write.table, write.index);
    while (keeps_below(old, write.value)) {
        if (write.expected && old != *write.expected)
            return Err::Again;
        const u64 value = entry::stored(with_access_bits(write, old));
        if (!arch::exchange_entry(write.table, write.index, old, value))
            continue;
        if (is_superpage(old) && entry::is_writable(old) && !entry::is_writable(value))
            drop_superpage_writing(old);
        return true;
    }
    return false;
}

} // namespace

Result<void> write_upper(Vcpu& vcpu, const EntryWrite& write, FrameType level, Domain& owner) {
    if (level == FrameType::L4 && is_hypervisor_slot(write.index))
        return refuse(vcpu.domain, "L4 slots 256 to 271 are the hypervisor's", write.value);
    const bool present = entry::is_present(write.value);
    if (present) {
        if (TRY(write_upper_in_place(write)))
            return {};
        TRY(take_child(write.value, level, owner, vcpu.domain));
    }
    u64 old = arch::read_entry(write.table, write.index);
    if (!replace_entry(write, old)) {
        if (present)
            put_child(vcpu, write.value);
        return Err::Again;
    }
    if (entry::is_present(old))
        put_child(vcpu, old);
    return {};
}

void put_table(Vcpu& vcpu, Mfn table) {
    if (vcpu.pv.unfinished_table != invalid_mfn)
        return put_frame_and_type(table); // one is waiting already: rare, so this one goes in one piece
    if (put_type_preemptible(table))
        return put_frame(table);
    vcpu.pv.unfinished_table = table;
}

Result<void> finish_table(Vcpu& vcpu) {
    if (vcpu.pv.unfinished_table == invalid_mfn) [[likely]]
        return {};
    TRY(put_type_preemptible(vcpu.pv.unfinished_table));
    put_frame(vcpu.pv.unfinished_table);
    vcpu.pv.unfinished_table = invalid_mfn;
    return {};
}

} // namespace domus::hv
