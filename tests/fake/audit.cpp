// The audit: recompute from raw tables who maps what, and compare with the frame table's counts and types. It knows
// only the format of page tables and which frames the hypervisor says are tables in force; counts are its own.
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "tests/fake/machine.hpp"

namespace domus::fake {
namespace {

TypeWord word_of(Machine& m, u64 frame) {
    return TypeWord{m.infos[frame].type.load()};
}

constexpr bool is_large(FrameType level, u64 value) {
    return level == FrameType::L2 && (value & entry::large) != 0;
}

// Which entries of the frame stand for references: all of a validated table, the first `progress` of a partial one.
u32 counted_entries(TypeWord word) {
    if (!is_table(word.type()))
        return 0;
    if (word.has(TypeWord::Partial))
        return word.progress();
    return word.count() > 0 ? 512 : 0;
}

struct Tally {
    std::vector<u32> uses = std::vector<u32>(ram_frames); // as the frame's present type
    std::vector<u32> refs = std::vector<u32>(ram_frames);
    std::vector<std::string> broken;
};

std::string name(u64 frame) {
    return "frame " + std::to_string(frame);
}

void count_entry(Machine& m, Tally& tally, u64 table, FrameType level, u64 value) {
    const u64 target = entry::frame(value).n;
    if (target >= ram_frames || word_of(m, target).has(TypeWord::Device))
        return;
    ++tally.refs[target];
    const bool typed = level != FrameType::L1 || entry::is_writable(value);
    if (!typed)
        return;
    const FrameType wanted = level == FrameType::L1 ? FrameType::Writable : level_below(level);
    if (word_of(m, target).type() != wanted)
        tally.broken.push_back(name(table) + " uses " + name(target) + " as something that it is not");
    ++tally.uses[target];
}

void count_table(Machine& m, Tally& tally, u64 frame) {
    const TypeWord word = word_of(m, frame);
    for (u32 i = 0; i < counted_entries(word); ++i) {
        const u64 value = m.table(Mfn(frame))[i];
        if (word.type() == FrameType::L4 && is_hypervisor_slot(i)) {
            if (word.count() > 0 && !word.has(TypeWord::Partial) && value != hypervisor_slot_value + (u64{i} << 32))
                tally.broken.push_back(name(frame) + " is an L4 without the hypervisor's slots");
        } else if (entry::is_present(value) && is_large(word.type(), value)) {
            for (u64 part = 0; part < 512; ++part)
                count_entry(m, tally, frame, FrameType::L1, value + (part << page_shift));
        } else if (entry::is_present(value)) {
            count_entry(m, tally, frame, word.type(), value);
        }
    }
}

void count_own(Machine& m, Tally& tally, u64 frame) {
    const TypeWord word = word_of(m, frame);
    const u64 refs = m.infos[frame].refs.load();
    if (word.has(TypeWord::Pinned)) {
        ++tally.uses[frame];
        ++tally.refs[frame];
    }
    if (word.has(TypeWord::Partial) && word.count() == 0)
        ++tally.refs[frame];
    if ((refs & allocated_flag) != 0)
        ++tally.refs[frame];
    if ((refs & allocated_flag) != 0 && (refs & shared_flag) != 0)
        ++tally.uses[frame];
}

void compare(Machine& m, Tally& tally, u64 frame) {
    const FrameInfo& info = m.infos[frame];
    if (!info.owner.load())
        return;
    const TypeWord word = word_of(m, frame);
    if (word.count() != tally.uses[frame])
        tally.broken.push_back(name(frame) + " has type count " + std::to_string(word.count()) + ", the tables say " +
                               std::to_string(tally.uses[frame]));
    if ((info.refs.load() & refs_mask) != tally.refs[frame])
        tally.broken.push_back(name(frame) + " has " + std::to_string(info.refs.load() & refs_mask) +
                               " references, the tables say " + std::to_string(tally.refs[frame]));
    if (word.has(TypeWord::Locked))
        tally.broken.push_back(name(frame) + " was left locked");
}

} // namespace

std::multiset<u64> writable_frames(Machine& m) {
    std::multiset<u64> result;
    for (u64 frame = 0; frame < ram_frames; ++frame) {
        const TypeWord word{m.infos[frame].type.load()};
        // One that is being validated, or out of force, is not reachable.
        if (word.count() == 0 || word.is_unhooked() || (word.type() != FrameType::L1 && word.type() != FrameType::L2))
            continue;
        for (u32 i = 0; i < 512; ++i) {
            const u64 value = m.table(Mfn(frame))[i];
            if (!entry::is_present(value) || !entry::is_writable(value) || entry::frame(value).n >= ram_frames)
                continue;
            if (word.type() == FrameType::L1)
                result.insert(entry::frame(value).n);
            for (u64 part = 0; is_large(word.type(), value) && part < 512; ++part)
                result.insert(entry::frame(value).n + part);
        }
    }
    return result;
}

std::vector<std::string> Machine::audit(const std::vector<Mfn>& roots) {
    Tally tally;
    for (u64 frame = first_free_frame; frame < ram_frames; ++frame) {
        if (!infos[frame].owner.load())
            continue;
        count_table(*this, tally, frame);
        count_own(*this, tally, frame);
    }
    for (Mfn root : roots) {
        ++tally.uses[root.n];
        ++tally.refs[root.n];
    }
    for (u64 frame = first_free_frame; frame < ram_frames; ++frame) {
        compare(*this, tally, frame);
        const TypeWord word{infos[frame].type.load()};
        if (is_table(word.type()) && word.count() > 0 && !word.is_unhooked() && stale_writable_.contains(frame))
            tally.broken.push_back(name(frame) + " is a table in force and may be written by a stale translation");
    }
    for (u64 frame : writable_frames(*this)) {
        const TypeWord word = word_of(*this, frame);
        if (frame >= first_free_frame && is_table(word.type()) && word.count() > 0 && !word.is_unhooked())
            tally.broken.push_back(name(frame) + " is a table in force and mapped writable");
    }
    return tally.broken;
}

} // namespace domus::fake
