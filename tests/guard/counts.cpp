// Every count equals what the tables say. By induction from the roots down: a table's uses are the entries that lead to
// it, and those count only while it has uses of its own. See model.hpp.
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/grants_state.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "tests/guard/model.hpp"

namespace domus::guard {
namespace {

struct Tally {
    std::vector<u32> uses = std::vector<u32>(fake::ram_frames);
    std::vector<u32> refs = std::vector<u32>(fake::ram_frames);

    void one(u64 frame, bool typed) {
        if (frame < fake::first_free_frame || frame >= fake::ram_frames)
            return;
        ++refs[frame];
        uses[frame] += typed;
    }
};

fake::Machine& m() {
    return fake::machine();
}

TypeWord word_of(u64 frame) {
    return TypeWord{m().infos[frame].type.load()};
}

// Entries that stand for references: all of a validated table, the first ones of a half validated one.
u32 counted_entries(TypeWord word) {
    if (!is_table(word.type()))
        return 0;
    if (word.has(TypeWord::Partial))
        return word.progress();
    return word.count() > 0 ? 512 : 0;
}

void tally_table(Tally& tally, u64 frame) {
    const TypeWord word = word_of(frame);
    const u64* raw = m().table(Mfn(frame));
    for (u32 i = 0, n = counted_entries(word); i < n; ++i) {
        if (!entry::is_present(raw[i]) || (word.type() == FrameType::L4 && is_hypervisor_slot(i)))
            continue;
        if (word.type() == FrameType::L2 && (raw[i] & entry::large) != 0) {
            for (u64 part = 0; part < 512; ++part)
                tally.one(entry::frame(raw[i]).n + part, entry::is_writable(raw[i]));
            continue;
        }
        tally.one(entry::frame(raw[i]).n, word.type() != FrameType::L1 || entry::is_writable(raw[i]));
    }
}

void tally_own(Tally& tally, u64 frame) {
    const TypeWord word = word_of(frame);
    const u64 refs = m().infos[frame].refs.load();
    if (word.has(TypeWord::Pinned))
        tally.one(frame, true);
    if (word.has(TypeWord::Partial) && word.count() == 0)
        tally.one(frame, false);
    if ((refs & allocated_flag) != 0)
        tally.one(frame, (refs & shared_flag) != 0);
}

void tally_vcpu(Tally& tally, const Vcpu& v) {
    for (u64 root : {v.pv.kernel_root, v.pv.user_root})
        tally.one(root >> page_shift, true);
    if (v.pv.unfinished_table != invalid_mfn)
        tally.one(v.pv.unfinished_table.n, true);
    for (const auto* list : {&v.pv.gdt_frames, &v.pv.ldt_frames}) {
        for (u64 frame : *list)
            tally.one(frame, true);
    }
    if (v.info_frame != invalid_mfn)
        tally.one(v.info_frame.n, true);
}

// The table that is out of force, its hook's and its alias' are held; its own references stand for the copy. The alias'
// use is an entry's, like any other.
void tally_unhooked(Tally& tally, Domain& d) {
    d.unhooked.with([&](UnhookedTable& out) {
        if (out.table == invalid_mfn)
            return;
        tally.one(out.table.n, true);
        tally.one(out.hook_table.n, true);
        tally.one(out.alias_table.n, true);
        const u64* before = m().table(out.copy);
        for (u32 i = 0; i < 512; ++i) {
            if (entry::is_present(before[i]))
                tally.one(entry::frame(before[i]).n, entry::is_writable(before[i]));
        }
    });
}

// Device mappings of grants hold frames without an entry.
void tally_grants(Tally& tally, Domain& d) {
    d.grants.state()->maptrack.with([&](auto& track) {
        for (MappingChunk* chunk : track.chunks) {
            for (usize i = 0; chunk && i < mappings_per_chunk; ++i) {
                const Mapping& mapping = chunk->mappings[i];
                if (mapping.state == Mapping::State::Mapped && (mapping.flags & GNTMAP_device_map) != 0)
                    tally.one(mapping.frame.n, (mapping.flags & GNTMAP_readonly) == 0);
            }
        }
    });
}

} // namespace

void Model::counts() {
    Tally tally;
    for (u64 frame = fake::first_free_frame; frame < fake::ram_frames; ++frame) {
        if (!m().infos[frame].owner.load())
            continue;
        tally_table(tally, frame);
        tally_own(tally, frame);
    }
    for (DomainRef d = first_domain(); d; d = next_domain(*d)) {
        for (u32 i = 0; i < d->max_vcpus; ++i) {
            if (d->vcpus[i])
                tally_vcpu(tally, *d->vcpus[i]);
        }
        tally_grants(tally, *d);
        tally_unhooked(tally, *d);
    }
    for (u64 frame = fake::first_free_frame; frame < fake::ram_frames; ++frame) {
        const FrameInfo& info = m().infos[frame];
        if (!info.owner.load())
            continue;
        const TypeWord word = word_of(frame);
        if (word.count() != tally.uses[frame] || (info.refs.load() & refs_mask) != tally.refs[frame])
            fail("frame " + std::to_string(frame) + " of type " + std::to_string(static_cast<int>(word.type())) +
                 " has " + std::to_string(word.count()) + " uses and " + std::to_string(info.refs.load() & refs_mask) +
                 " references, the tables say " + std::to_string(tally.uses[frame]) + " and " +
                 std::to_string(tally.refs[frame]));
        if (word.has(TypeWord::Locked))
            fail("frame " + std::to_string(frame) + " was left locked");
    }
}

} // namespace domus::guard
