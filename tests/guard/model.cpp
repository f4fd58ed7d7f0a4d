// Walking the raw tables, and the security property. See model.hpp.
#include "tests/guard/model.hpp"

#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/pv/page_entry.hpp"

#include <algorithm>

namespace domus::guard {
namespace {

constexpr u16 nobody = 0xffff;
constexpr u64 frames = fake::ram_frames;

fake::Machine& m() {
    return fake::machine();
}

std::string name(u64 frame) {
    return "frame " + std::to_string(frame);
}

bool is_free(u64 frame) {
    for (u32 order = 0; order <= max_order; ++order) {
        const TypeWord word{m().infos[frame & ~((u64{1} << order) - 1)].type.load(std::memory_order_relaxed)};
        if (word.has(TypeWord::Free) && word.progress() == order)
            return true;
    }
    return false;
}

bool is_ram(u64 frame) {
    return frame >= fake::first_free_frame && frame < frames;
}

} // namespace

Model::Model() : contents_(frames), level_(frames), party_(frames), segments_(frames), stale_(frames) {
    m().watcher = this;
}

Model::~Model() {
    m().watcher = nullptr;
}

void Model::fail(std::string what) {
    broken_.push_back(std::move(what));
}

void Model::dies(u32 party) {
    parties[party] = nullptr;
    std::erase_if(shared, [&](const auto& frame) { return frame.second == party; });
    for (u32 frame : stale_list_) // what CPUs hold of it is of use to nobody, but the frames are still reached
        stale_[frame].writers[party] = 0;
}

u16 Model::owner_of(u64 frame) const {
    const Domain* owner = m().infos[frame].owner.load();
    return owner ? owner->id.n : nobody;
}

bool Model::read(u32 frame) {
    Contents& c = contents_[frame];
    const u64* raw = m().table(Mfn(frame));
    if (c.known && std::memcmp(c.raw.data(), raw, page_size) == 0)
        return false;
    std::memcpy(c.raw.data(), raw, page_size);
    c.known = true;
    c.present.clear();
    for (u16 i = 0; i < 512; ++i) {
        if (entry::is_present(c.raw[i]))
            c.present.emplace_back(i, c.raw[i]);
    }
    return true;
}

// Roots in force, and what the hypervisor holds to be a validated table.
std::vector<Model::Reached> Model::starts() const {
    std::vector<Reached> found;
    for (u8 p = 0; p < most_parties; ++p) {
        if (!parties[p])
            continue;
        for (u32 i = 0; i < parties[p]->max_vcpus; ++i) {
            const Vcpu* v = parties[p]->vcpus[i];
            for (u64 root : {v ? v->pv.kernel_root : 0, v ? v->pv.user_root : 0}) {
                if (root != 0)
                    found.push_back({static_cast<u32>(root >> page_shift), 4, p});
            }
        }
        // The model looks in the middle of a flush too, whatever locks the hypervisor holds there.
        auto held = std::exchange(m().ranks[m().this_cpu()], {});
        const u64 head = parties[p]->frames.with([](OwnedFrames& list) { return list.head; });
        m().ranks[m().this_cpu()] = std::move(held);
        for (u64 at = head; at != 0; at = m().infos[at].next) {
            const TypeWord word{m().infos[at].type.load(std::memory_order_relaxed)};
            if (is_table(word.type()) && word.count() > 0 && !word.has(TypeWord::Partial) &&
                !word.has(TypeWord::Locked))
                found.push_back({static_cast<u32>(at), static_cast<u8>(word.type()), p});
        }
    }
    return found;
}

bool Model::changed() {
    bool differs = false;
    for (const Reached& t : tables_)
        differs |= read(t.frame);
    auto now = starts();
    differs |= now != starts_;
    starts_ = std::move(now);
    return differs;
}

void Model::reach(Reached t) {
    if (!is_ram(t.frame)) {
        found_.push_back(name(t.frame) + " is reached as a table and is not RAM");
        return;
    }
    if (level_[t.frame] != 0) {
        if (level_[t.frame] != t.level)
            found_.push_back(name(t.frame) + " is reached as a table of two levels");
        return;
    }
    level_[t.frame] = t.level;
    party_[t.frame] = t.party;
    tables_.push_back(t);
}

bool Model::is_hook(const Reached& t, u16 index, u64 value) const {
    const UnhookedTable& out = parties[t.party]->unhooked.unguarded(); // one thread; the lock may be held just now
    return (value & entry::large) == 0 && out.hook_table.n == t.frame && out.hook_index == index &&
           out.table == entry::frame(value);
}

void Model::enter_upper(const Reached& t) {
    for (const auto& [index, value] : contents_[t.frame].present) {
        if (t.level == 4 && is_hypervisor_slot(index))
            continue;
        if (t.level == 2 && (value & entry::user) == 0 && is_hook(t, index, value))
            continue; // ring 3 gets no further, and the fake machine watches the hypervisor's own copies
        if (t.level == 2 && (value & entry::large) != 0)
            enter_superpage(t, index, value);
        else if ((value & entry::upper_refused) != 0 || (value & entry::user) == 0 || (value & entry::global) != 0)
            found_.push_back(name(t.frame) + " has an entry with forbidden bits above L1");
        else
            reach({static_cast<u32>(entry::frame(value).n), static_cast<u8>(t.level - 1), t.party});
    }
    if (t.level != 4)
        return;
    for (u32 i = first_hypervisor_slot; i <= last_hypervisor_slot; ++i) {
        if (contents_[t.frame].raw[i] != fake::hypervisor_slot_value + (u64{i} << 32))
            found_.push_back(name(t.frame) + " is an L4 in force without the hypervisor's slots");
    }
}

// 2 MiB at once: each of its frames is mapped as if by an L1. (The format: bits 12 to 20 are no part of the address.)
void Model::enter_superpage(const Reached& t, u16 index, u64 value) {
    constexpr u64 reserved = u64{0x1ff} << page_shift;
    if (!superpages)
        found_.push_back(name(t.frame) + " has a superpage, which is switched off");
    if ((value & (entry::write_through | entry::cache_disable | entry::global | reserved)) != 0 ||
        (value & entry::user) == 0)
        found_.push_back(name(t.frame) + " has a superpage with forbidden bits");
    const u64 first = (value & entry::frame_mask & ~reserved) >> page_shift;
    for (u64 frame = first; frame < first + 512; ++frame) {
        if (!is_ram(frame))
            found_.push_back(name(t.frame) + " has a superpage of what is not RAM");
        leaves_.push_back(
            {static_cast<u32>(std::min<u64>(frame, ~u32{0})), t.frame, index, t.party, entry::is_writable(value)});
    }
}

void Model::enter_l1(const Reached& t) {
    for (const auto& [index, value] : contents_[t.frame].present) {
        if ((value & entry::user) == 0 || (value & entry::global) != 0)
            found_.push_back(name(t.frame) + " has an entry with forbidden bits");
        const u64 target = entry::frame(value).n;
        leaves_.push_back(
            {static_cast<u32>(std::min<u64>(target, ~u32{0})), t.frame, index, t.party, entry::is_writable(value)});
    }
}

void Model::walk() {
    for (const Reached& t : tables_)
        level_[t.frame] = 0;
    tables_.clear();
    leaves_.clear();
    found_.clear();
    for (const Reached& t : starts_)
        reach(t);
    for (usize i = 0; i < tables_.size(); ++i) {
        const Reached t = tables_[i]; // the list grows
        read(t.frame);
        t.level == 1 ? enter_l1(t) : enter_upper(t);
    }
    fresh_ = false;
}

// The CPUs that run a vcpu of that domain in this moment.
arch::CpuMask Model::cpus_of(u8 party) const {
    arch::CpuMask mask = 0;
    const u32 here = m().this_cpu();
    for (u32 cpu = 0; cpu < fake::cpus; ++cpu) {
        m().turn(cpu);
        if (&m().current().domain == parties[party])
            mask |= arch::CpuMask{1} << cpu;
    }
    m().turn(here);
    return mask;
}

void Model::note_stale(u64 frame, u8 party, bool as_table) {
    if (!is_ram(frame))
        return;
    const u8 mask = static_cast<u8>(cpus_of(party));
    Stale& s = stale_[frame];
    (as_table ? s.table_on : s.writable_on) |= mask;
    if (!as_table)
        s.writers[party] |= mask;
    if (mask != 0 && !s.listed) {
        s.listed = true;
        s.owner = owner_of(frame);
        stale_list_.push_back(static_cast<u32>(frame));
    }
}

void Model::remember_translations() {
    if (fresh_)
        return;
    fresh_ = true;
    for (const Reached& t : tables_)
        note_stale(t.frame, t.party, true);
    for (const Leaf& leaf : leaves_) {
        if (leaf.writable)
            note_stale(leaf.frame, leaf.party, false);
    }
}

std::vector<u64> Model::writable_by(u32 cpu) const {
    std::vector<u64> result;
    for (u32 frame : stale_list_) {
        if ((stale_[frame].writable_on >> cpu & 1) != 0)
            result.push_back(frame);
    }
    return result;
}

// Other CPUs may have used an entry that is gone before the step is over.
void Model::entry_written(Mfn table, u32, u64 before, u64) {
    if (!entry::is_present(before) || !entry::is_writable(before))
        return;
    if (level_[table.n] == 1)
        note_stale(entry::frame(before).n, party_[table.n], false);
    for (u64 i = 0; level_[table.n] == 2 && (before & entry::large) != 0 && i < 512; ++i)
        note_stale((entry::frame(before).n & ~u64{511}) + i, party_[table.n], false);
}

void Model::flushed(arch::CpuMask mask) {
    const u8 kept = static_cast<u8>(~mask);
    std::erase_if(stale_list_, [&](u32 frame) {
        Stale& s = stale_[frame];
        s.writable_on &= kept;
        s.table_on &= kept;
        for (u8& cpus : s.writers)
            cpus &= kept;
        s.listed = s.writable_on != 0 || s.table_on != 0;
        return !s.listed;
    });
    if (changed())
        walk();
    fresh_ = false;
    remember_translations(); // what the tables allow in this moment comes back at once
}

void Model::check_leaf(const Leaf& leaf) {
    const Domain& mapper = *parties[leaf.party];
    if (!is_ram(leaf.frame)) {
        if (!mapper.privileged)
            fail(name(leaf.table) + " maps a device frame for a domain without devices");
        return;
    }
    const Domain* owner = m().infos[leaf.frame].owner.load(std::memory_order_relaxed);
    if (!owner)
        fail(name(leaf.table) + " maps " + name(leaf.frame) + ", which is the hypervisor's or free");
    if (leaf.writable && level_[leaf.frame] != 0)
        fail(name(leaf.table) + " maps " + name(leaf.frame) + " writable, a page table in force");
    if (leaf.writable && is_segments(leaf.frame))
        fail(name(leaf.table) + " maps " + name(leaf.frame) + " writable, a descriptor table in force");
}

// Foreign frames in the tables of an unprivileged domain: no more entries than grants.
void Model::check_grants() {
    std::map<std::pair<u16, u64>, Rights> used;
    for (const Leaf& leaf : leaves_) {
        const Domain& mapper = *parties[leaf.party];
        if (mapper.privileged || !is_ram(leaf.frame) || m().infos[leaf.frame].owner.load() == &mapper)
            continue;
        Rights& r = used[{mapper.id.n, leaf.frame}];
        ++r.any;
        r.write += leaf.writable;
    }
    for (const auto& [key, mapped] : used) {
        const auto granted = rights.find(key);
        const Rights may = granted == rights.end() ? Rights{} : granted->second;
        if (mapped.any > may.any || mapped.write > may.write)
            fail("d" + std::to_string(key.first) + " maps " + name(key.second) + " of another domain's " +
                 std::to_string(mapped.any) + " times (" + std::to_string(mapped.write) + " writable), granted are " +
                 std::to_string(may.any) + " (" + std::to_string(may.write) + ")");
    }
}

void Model::check_segments() {
    for (Domain* d : parties) {
        for (u32 i = 0; d && i < d->max_vcpus; ++i) {
            if (!d->vcpus[i])
                continue;
            for (const auto* list : {&d->vcpus[i]->pv.gdt_frames, &d->vcpus[i]->pv.ldt_frames}) {
                for (u64 frame : *list) {
                    if (frame == 0)
                        continue;
                    segments_[frame] = step_;
                    if (m().infos[frame].owner.load() != d || level_[frame] != 0)
                        fail(name(frame) + " is a descriptor table and a page table, or not the domain's");
                }
            }
        }
    }
}

// The hypervisor writes there whatever a guest makes of the frame.
void Model::check_shared() {
    for (const auto& [frame, party] : shared) {
        if (m().infos[frame].owner.load(std::memory_order_relaxed) != parties[party])
            fail(name(frame) + " belongs to the grant table of a domain that does not own it");
        if (level_[frame] != 0 || is_segments(frame))
            fail(name(frame) + " belongs to a grant table, and is a page table or descriptor table in force");
    }
}

// A foreign frame: whoever was told that its mapping is gone has no translation left that can write there.
void Model::check_withdrawn(u32 frame, const Domain* owner) {
    for (u32 p = 0; p < most_parties; ++p) {
        const Domain* writer = parties[p];
        if (stale_[frame].writers[p] == 0 || !writer || writer == owner || writer->privileged)
            continue;
        const auto granted = rights.find({writer->id.n, frame});
        if (granted == rights.end() || granted->second.write == 0)
            fail("d" + std::to_string(writer->id.n) + " has no grant of " + name(frame) +
                 " any more, and a translation that was not flushed can write to it");
    }
}

void Model::check_stale() {
    for (u32 frame : stale_list_) {
        const Stale& s = stale_[frame];
        const Domain* owner = m().infos[frame].owner.load(std::memory_order_relaxed);
        if (!owner && !is_free(frame))
            fail(name(frame) + " is the hypervisor's own, and a translation that was not flushed reaches it");
        if (owner && owner->id.n != s.owner)
            fail(name(frame) + " changed hands with translations that were not flushed");
        if (s.writable_on == 0)
            continue;
        if (owner)
            check_withdrawn(frame, owner);
        if (level_[frame] != 0)
            fail(name(frame) + " is a page table in force, and a stale translation can write to it");
        if (s.table_on != 0)
            fail(name(frame) + " can be written to while a CPU may still walk through it as a table");
        if (is_segments(frame))
            fail(name(frame) + " is a descriptor table in force, and a stale translation can write to it");
    }
}

void Model::check() {
    ++step_;
    if (changed())
        walk();
    remember_translations();
    broken_.insert(broken_.end(), found_.begin(), found_.end());
    check_segments();
    for (const Reached& t : tables_) {
        if (m().infos[t.frame].owner.load(std::memory_order_relaxed) != parties[t.party])
            fail(name(t.frame) + " is a page table of a domain that does not own it");
    }
    for (const Leaf& leaf : leaves_)
        check_leaf(leaf);
    check_grants();
    check_shared();
    check_stale();
}

} // namespace domus::guard
