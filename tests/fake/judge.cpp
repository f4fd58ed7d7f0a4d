// The judge of page-table writes: is this value allowed in that place in this very moment? Independent of the
// hypervisor's own checks: it looks at owners and types as they are, not at how the write came about.
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "tests/fake/machine.hpp"

namespace domus::fake {
namespace {

TypeWord word_of(const Machine& m, Mfn mfn) {
    return TypeWord{m.infos[mfn.n].type.load()};
}

// May the CPU walk through a table of this word now, or is it about to?
bool in_force(TypeWord word) {
    return is_table(word.type()) && (word.count() > 0 || word.has(TypeWord::Locked)) && !word.is_unhooked();
}

std::string judge_target(const Machine& m, u64 value) {
    const Mfn mfn = entry::frame(value);
    if (mfn.n >= ram_frames || word_of(m, mfn).has(TypeWord::Device))
        return {};
    const FrameInfo& info = m.infos[mfn.n];
    if (!info.owner.load())
        return "maps a frame of the hypervisor's";
    if ((info.refs.load() & refs_mask) == 0)
        return "maps a frame without references";
    const TypeWord word = word_of(m, mfn);
    const bool may_be_written = (word.type() == FrameType::Writable && word.count() > 0) || word.is_unhooked();
    if (entry::is_writable(value) && !may_be_written)
        return "maps a frame writable that is not typed so";
    return {};
}

std::string judge_large(const Machine& m, u64 value) {
    if ((value & (entry::write_through | entry::cache_disable)) != 0 || entry::frame(value).n % 512 != 0)
        return "is a superpage with cache attributes or not aligned";
    for (u64 part = 0; part < 512; ++part) {
        const Mfn mfn(entry::frame(value).n + part);
        if (mfn.n >= ram_frames || word_of(m, mfn).has(TypeWord::Device))
            return "is a superpage of what is not RAM";
        if (std::string why = judge_target(m, value + (part << page_shift)); !why.empty())
            return why;
    }
    return {};
}

std::string judge_child(const Machine& m, FrameType level, u64 value) {
    if (level == FrameType::L2 && (value & entry::large) != 0)
        return judge_large(m, value);
    const Mfn mfn = entry::frame(value);
    if (mfn.n >= ram_frames || !m.infos[mfn.n].owner.load())
        return "leads to a frame that is no domain's";
    if ((value & entry::upper_refused) != 0)
        return "is a superpage or has cache attributes";
    if (word_of(m, mfn).type() != level_below(level) || word_of(m, mfn).count() == 0)
        return "leads to a frame that is not a table of the level below";
    return {};
}

} // namespace

std::string Machine::judge(Mfn mfn, u32 index, u64 value) const {
    const TypeWord word = word_of(*this, mfn);
    if (!in_force(word) || !entry::is_present(value))
        return {};
    if (word.type() == FrameType::L4 && is_hypervisor_slot(index))
        return "writes to a slot of the hypervisor's";
    const bool hook = word.type() == FrameType::L2 && (value & entry::large) == 0 &&
                      entry::frame(value).n < ram_frames && word_of(*this, entry::frame(value)).is_unhooked();
    if (((value & entry::user) == 0) != hook || (value & entry::global) != 0)
        return "has the wrong user or global bit";
    return word.type() == FrameType::L1 ? judge_target(*this, value) : judge_child(*this, word.type(), value);
}

void Machine::note_write(Mfn mfn, u32 index, u64 before, u64 after) {
    if (watcher)
        watcher->entry_written(mfn, index, before, after);
    if (!remembers)
        return;
    history_.push_back({mfn, index, before, after, judge(mfn, index, after)});
    const TypeWord word = word_of(*this, mfn);
    const bool large = word.type() == FrameType::L2 && (before & entry::large) != 0;
    if ((word.type() != FrameType::L1 && !large) || word.count() == 0 || word.has(TypeWord::Locked) ||
        !entry::is_present(before) || !entry::is_writable(before) || entry::frame(before).n >= ram_frames)
        return;
    for (u64 part = 0; part < (large ? 512 : 1); ++part)
        stale_writable_.insert(entry::frame(before).n + part);
}

void Machine::note_flush(arch::CpuMask mask) {
    if (watcher)
        watcher->flushed(mask);
    if (!remembers || mask != (arch::CpuMask{1} << cpus) - 1)
        return;
    stale_writable_.clear();
    for (u64 frame : writable_frames(*this))
        stale_writable_.insert(frame);
}

} // namespace domus::fake
