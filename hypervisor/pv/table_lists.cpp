// Pinning and unpinning the tables of a tree in one hypercall, together with the guest kernel's own mapping (alias) of
// each table page: read-only before a pin, writable again after an unpin. Interface: hypervisor/abi/domus.h,
// DOMUS_EXT_pin_tables and DOMUS_EXT_unpin_tables. Locks: none; type references.
//
// Two passes over the list: all of one kind of change, then all of the other. So whatever the list's order is, no table
// is looked at while its alias is writable, and translations are flushed once for the whole tree and not per table.
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/extension_tables.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/mmu_entry.hpp"
#include "hypervisor/pv/mmu_walk.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/page_types.hpp"

namespace domus::hv {
namespace {

constexpr u64 most_tables = 4096; // of one call
constexpr u64 tables_per_look = 8;

struct Element {
    Vaddr alias;
    u64 level; // 0: the alias only
};

Result<Element> element_at(const Call& call, u64 index) {
    const u64 raw = TRY(copy_in(GuestPtr<u64>{call.args[1]}, index));
    const u64 level = raw & page_mask;
    if (level > static_cast<u64>(FrameType::L4))
        return Err::Inval;
    return Element{Vaddr(raw & ~u64{page_mask}), level};
}

Result<Walk> mapping_of(const Call& call, Vaddr alias) {
    const auto found = walk(call.vcpu.pv.kernel_root, alias);
    if (found && entry::is_present(found->value))
        return *found;
    why(call.domain, "list of tables: nothing is mapped at {x}", alias);
    return Err::Inval;
}

// Err::Again: another vcpu changed the mapping in this moment.
Result<void> try_alias(const Call& call, Vaddr alias, bool writable) {
    const Walk found = TRY(mapping_of(call, alias));
    const u64 value = writable ? found.value | entry::writable : found.value & ~entry::writable;
    if (value == found.value)
        return {};
    TRY(open_l1(found.l1, call.domain));
    count(call.domain, Count::PteUpdates);
    const auto written = write_l1({found.l1.table, found.l1.index, value, AccessBits::Replace, &found.value},
                                  own_frames(call.domain), call.domain);
    close_l1(found.l1);
    return written;
}

Result<void> set_alias(const Call& call, Vaddr alias, bool writable) {
    for (;;) {
        const auto done = try_alias(call, alias, writable);
        if (done || done.error() != Err::Again)
            return done;
    }
}

Result<void> pin_one(const Call& call, const Element& element) {
    if (element.level == 0)
        return {};
    const Walk found = TRY(mapping_of(call, element.alias));
    return pin(call.domain, entry::frame(found.value), static_cast<FrameType>(element.level));
}

Result<void> unpin_one(const Call& call, const Element& element) {
    if (element.level == 0)
        return {};
    const Walk found = TRY(mapping_of(call, element.alias));
    return unpin(call.vcpu, call.domain, entry::frame(found.value));
}

// args[3] counts through both passes. A guest that starts it elsewhere leaves out elements of its own list.
template <class First, class Second>
Result<i64> two_passes(Call& call, First&& first, Second&& second) {
    TRY(finish_table(call.vcpu));
    const u64 tables = call.args[2];
    if (tables > most_tables)
        return Err::Inval;
    u64 at = call.args[3];
    const auto stop_here = [&] { return call.resume_later(call.args[0], call.args[1], tables, at); };
    for (u64 worked = 1; at < 2 * tables; ++at, ++worked) {
        if (worked % tables_per_look == 0 && must_yield())
            return stop_here();
        const bool is_first = at < tables;
        const Element element = TRY(element_at(call, is_first ? at : at - tables));
        const Result<void> result = is_first ? first(element) : second(element);
        if (!result && result.error() == Err::Restart)
            return stop_here();
        TRY(result);
        if (call.vcpu.pv.unfinished_table != invalid_mfn) {
            ++at;
            return stop_here();
        }
    }
    return i64{0};
}

} // namespace

Result<i64> pin_tables(Call& call, GuestPtr<void>) {
    return two_passes(
        call, [&](const Element& e) { return set_alias(call, e.alias, false); },
        [&](const Element& e) { return pin_one(call, e); });
}

Result<i64> unpin_tables(Call& call, GuestPtr<void>) {
    return two_passes(
        call, [&](const Element& e) { return unpin_one(call, e); },
        [&](const Element& e) { return set_alias(call, e.alias, true); });
}

} // namespace domus::hv
