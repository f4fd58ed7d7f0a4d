// Unhooked tables. See unhooked.hpp. Owner: each domain's UnhookedTable. Lock: Rank::PageTables of the domain, held for
// one table's work at most (two flushes and 512 entries).
//
// ISOLATION, page type confusion and TLB: no CPU can walk through the table while a guest can write it, nor write it
// while it is validated. So translations are flushed whole between the L2 entry's going and the alias' becoming
// writable, and again between the alias' becoming read-only and the validation.
#include "hypervisor/pv/unhooked.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/frame_owner.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/mmu_entry.hpp"
#include "hypervisor/pv/mmu_flush.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/superpage.hpp"

namespace domus::hv {

constinit std::atomic<u32> unhooked_tables{0};

namespace {

constinit u32 unhook_after = unhook_after_default;

constexpr i32 not_soon = -200; // stores to the table until it is tried again

// --- type word of a table that is out

// Nobody uses it but its hook, and its pin if it has one.
bool is_ours_alone(TypeWord word) {
    return word.is_plainly(FrameType::L1) && word.count() == (word.has(TypeWord::Pinned) ? 2u : 1u);
}

// In force -> out, with two uses more: the record's own and the alias'.
bool mark_unhooked(Mfn table) {
    std::atomic<u64>& type = frame_info(table).type;
    TypeWord now{type.load(std::memory_order_acquire)};
    return is_ours_alone(now) &&
           type.compare_exchange_strong(now.raw,
                                        now.with(TypeWord::Partial).with_count(now.count() + 2).with_progress(0).raw);
}

void change_flags(Mfn table, u64 away, u64 more) {
    std::atomic<u64>& type = frame_info(table).type;
    u64 now = type.load(std::memory_order_acquire);
    while (!type.compare_exchange_weak(now, (now & ~away) | more))
        ;
}

// --- the L2 entry that leads to it

bool leads_to(u64 value, Mfn table) {
    return entry::is_present(value) && entry::frame(value) == table;
}

// Not a superpage that begins with the table's frame.
bool is_hook_of(u64 value, Mfn table) {
    return leads_to(value, table) && !is_superpage(value);
}

std::optional<u32> index_of(Mfn l2, Mfn table, u32 first) {
    for (u32 i = 0; i < table_entries; ++i) {
        const u32 index = (first + i) % table_entries;
        if (is_hook_of(arch::read_entry(l2, index), table))
            return index;
    }
    return std::nullopt;
}

// Looks through the user half of a root. Tables are only read here, and whoever is not sure looks again with a
// reference; a guest that made its tree too large for the search goes without.
class Search {
public:
    explicit Search(Mfn wanted) : wanted_(wanted) {}

    std::optional<EntryPlace> below(Mfn table, FrameType level) {
        if (tables_left_ == 0)
            return std::nullopt;
        --tables_left_;
        if (level == FrameType::L2) {
            if (const auto index = index_of(table, wanted_, 0))
                return EntryPlace{table, *index};
            return std::nullopt;
        }
        const u32 end = level == FrameType::L4 ? first_hypervisor_slot : table_entries;
        for (u32 i = 0; i < end; ++i) {
            const u64 value = arch::read_entry(table, i);
            if (!entry::is_present(value))
                continue;
            if (const auto found = below(entry::frame(value), level_below(level)))
                return found;
        }
        return std::nullopt;
    }

private:
    Mfn wanted_;
    u32 tables_left_ = 24;
};

// The hook, its table held as an L2. Tables follow each other: it is likely right behind the last one.
std::optional<EntryPlace> find_hook(Vcpu& vcpu, Mfn table) {
    PvState& pv = vcpu.pv;
    if (pv.last_hook_table != invalid_mfn && hold_table(pv.last_hook_table, FrameType::L2, vcpu.domain)) {
        if (const auto index = index_of(pv.last_hook_table, table, pv.last_hook_index))
            return EntryPlace{pv.last_hook_table, *index};
        put_table(vcpu, pv.last_hook_table);
    }
    const auto found = Search(table).below(frame_of(Maddr(pv.kernel_root)), FrameType::L4);
    if (!found || !hold_table(found->table, FrameType::L2, vcpu.domain))
        return std::nullopt;
    return found;
}

// --- out and back

// Guests run in ring 3, so an entry without the user bit leads them nowhere. False: somebody changed the hook.
bool set_hook_usable(const UnhookedTable& out, bool usable) {
    u64 value = arch::read_entry(out.hook_table, out.hook_index);
    while (is_hook_of(value, out.table) && ((value & entry::user) != 0) != usable) {
        if (arch::exchange_entry(out.hook_table, out.hook_index, value, value ^ entry::user))
            return true;
    }
    return false;
}

// The alias gets the right to write, for the use of the table that mark_unhooked counted, or loses it.
bool set_alias_writable(const UnhookedTable& out, bool writable) {
    u64 value = arch::read_entry(out.alias_table, out.alias_index);
    while (leads_to(value, out.table) && entry::is_writable(value) != writable) {
        if (arch::exchange_entry(out.alias_table, out.alias_index, value, value ^ entry::writable))
            return true;
    }
    return false;
}

void flush_all_of(Domain& domain) {
    arch::flush_all(domain.dirty_cpus.load() | this_cpu_mask());
    count(domain, Count::TlbFlushes);
}

void set_has_unhooked(Domain& domain, bool value) {
    domain.has_unhooked.store(value);
    unhooked_tables.fetch_add(value ? 1 : -1u);
}

// What the guest left there, as against what its references stand for.
void validate_changes(Domain& domain, const UnhookedTable& out) {
    const u64* now = arch::frame_as<u64>(out.table);
    const u64* before = arch::frame_as<u64>(out.copy);
    const DataOwner from = own_frames(domain);
    for (u32 i = 0; i < table_entries; ++i) {
        const u64 raw = __atomic_load_n(now + i, __ATOMIC_RELAXED);
        if (raw == before[i]) [[likely]]
            continue;
        const u64 value = settle_l1(before[i], raw, from, domain);
        if (value != raw)
            arch::write_entry(out.table, i, value);
    }
}

void bring_back_locked(Domain& domain, UnhookedTable& out) {
    if (out.table == invalid_mfn)
        return;
    if (set_alias_writable(out, false))
        put_type(out.table);
    flush_all_of(domain);
    change_flags(out.table, 0, TypeWord::Locked);
    validate_changes(domain, out);
    change_flags(out.table, TypeWord::Locked | TypeWord::Partial, 0);
    set_hook_usable(out, true); // unless another vcpu put something else there
    for (Mfn held : {out.table, out.hook_table, out.alias_table})
        put_table(current(), held);
    out.table = invalid_mfn;
    set_has_unhooked(domain, false);
}

// `out` names the table, its hook's and its alias' tables, which are held. False: another vcpu is at work there.
bool take_out(Domain& domain, UnhookedTable& out) {
    if (!mark_unhooked(out.table))
        return false;
    get_another(out.table);
    set_has_unhooked(domain, true); // before the hook goes: a fault there must find it
    const bool unhooked = set_hook_usable(out, false);
    flush_all_of(domain); // no CPU is in the middle of a copy after this (guest_memory.hpp)
    arch::copy_frame(out.copy, out.table);
    if (unhooked && set_alias_writable(out, true))
        return true;
    put_type(out.table); // the alias does not use it after all
    bring_back_locked(domain, out);
    return true; // another vcpu changed the alias or the hook in this moment: the store will find out
}

bool unhook_locked(Vcpu& vcpu, const Walk& alias, Mfn table, UnhookedTable& out) {
    bring_back_locked(vcpu.domain, out);
    if (out.copy == invalid_mfn) {
        const auto copy = allocate_frames();
        if (!copy)
            return false;
        out.copy = copy.value();
    }
    if (!open_l1(alias.l1, vcpu.domain))
        return false;
    const auto hook = find_hook(vcpu, table);
    if (!hook) {
        close_l1(alias.l1);
        return false;
    }
    out.table = table;
    out.hook_table = hook->table, out.hook_index = hook->index;
    out.alias_table = alias.l1.table, out.alias_index = alias.l1.index;
    vcpu.pv.last_hook_table = hook->table, vcpu.pv.last_hook_index = hook->index;
    if (take_out(vcpu.domain, out))
        return true;
    out.table = invalid_mfn;
    put_table(vcpu, hook->table);
    close_l1(alias.l1);
    return false;
}

// A table that is written to once or twice is cheaper to emulate.
bool is_worth_it(PvState& pv, Mfn table) {
    if (pv.stray_table != table) {
        pv.stray_table = table;
        pv.stray_count = 0;
    }
    return ++pv.stray_count > static_cast<i32>(unhook_after);
}

} // namespace

void set_unhook_after(u32 stores) {
    unhook_after = stores < 1000 ? stores : 1000;
}

bool unhook(Vcpu& vcpu, const Walk& alias, Mfn table) {
    if (unhook_after == 0 || !is_worth_it(vcpu.pv, table) || !alias.upper_writable || alias.l1.table == table ||
        !is_ours_alone(TypeWord{frame_info(table).type.load(std::memory_order_relaxed)}))
        return false;
    const bool done =
        vcpu.domain.unhooked.with([&](UnhookedTable& out) { return unhook_locked(vcpu, alias, table, out); });
    if (done)
        count(vcpu.domain, Count::TablesUnhooked);
    vcpu.pv.stray_count = done ? 0 : not_soon;
    return done;
}

void bring_back(Domain& domain) {
    domain.unhooked.with([&](UnhookedTable& out) { bring_back_locked(domain, out); });
}

void prepare_switch_from(Vcpu& vcpu) {
    bring_back_if_any(vcpu.domain);
}

bool bring_back_for_slowly(Vcpu& vcpu, Vaddr address) {
    if (!vcpu.domain.has_unhooked.load(std::memory_order_relaxed))
        return false;
    const auto l2 = walk_to_l2(vcpu.pv.in_kernel ? vcpu.pv.kernel_root : vcpu.pv.user_root, address);
    return l2 && vcpu.domain.unhooked.with([&](UnhookedTable& out) {
        if (out.table == invalid_mfn || out.hook_table != l2->table || out.hook_index != l2->index)
            return false;
        bring_back_locked(vcpu.domain, out);
        return true;
    });
}

void prepare_copy_slowly(u64 address, usize bytes) {
    Vcpu& vcpu = current();
    if (!vcpu.domain.has_unhooked.load(std::memory_order_relaxed) || bytes == 0)
        return;
    constexpr usize range_of_l2_entry = usize{1} << 21;
    if (bytes > range_of_l2_entry)
        return bring_back(vcpu.domain);
    bring_back_for(vcpu, Vaddr(address));
    bring_back_for(vcpu, Vaddr(address + bytes - 1));
}

void make_way(Domain& domain, Mfn table) {
    if (!any_unhooked() || !domain.has_unhooked.load(std::memory_order_relaxed)) [[likely]]
        return;
    const FrameInfo* info = find_frame(table);
    if (!info)
        return;
    const FrameType type = TypeWord{info->type.load(std::memory_order_relaxed)}.type();
    domain.unhooked.with([&](UnhookedTable& out) {
        if (table == out.table || (is_table(type) && type != FrameType::L1))
            bring_back_locked(domain, out);
    });
}

void end_unhooking(Domain& domain) {
    domain.unhooked.with([&](UnhookedTable& out) {
        bring_back_locked(domain, out);
        if (out.copy != invalid_mfn)
            free_frames(out.copy);
        out.copy = invalid_mfn;
    });
}

} // namespace domus::hv
