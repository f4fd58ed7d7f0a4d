// General references and types of frames. Owner: the frame table, one FrameInfo per frame. No lock: every change is a
// compare-and-swap; a table being validated is marked Locked, and others wait for that mark (they spin, and serve
// flush requests meanwhile). Called by every path that maps, types or frees memory. Must not be called by interrupts.
//
// ISOLATION, page type and reference confusion: a type changes only at count zero; a partly validated page holds a
// general reference; stale translations are flushed before a frame is used under its new type.
#include "hypervisor/core/frame_table.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/frame_hooks.hpp"
#include "hypervisor/core/frame_owner.hpp"
#include "hypervisor/core/frame_plain.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/log.hpp"

namespace domus::hv {
namespace {

// Releases done so far, and releases that the last flush covered. A pair, not a flag: a CPU may rely on another's
// flush only once that flush is complete.
constinit std::atomic<u64> stale_noted{0};
constinit std::atomic<u64> stale_flushed{0};

arch::CpuMask all_cpus() {
    return arch::cpu_count() >= 64 ? ~u64{0} : (u64{1} << arch::cpu_count()) - 1;
}

TypeWord unlocked_word(const FrameInfo& info) {
    TypeWord now{info.type.load(std::memory_order_acquire)};
    while (now.has(TypeWord::Locked)) {
        arch::relax();
        now.raw = info.type.load(std::memory_order_acquire);
    }
    return now;
}

// Go on taking back a validation. The frame is Locked, count 0, and holds the partial state's general reference if
// `holds_reference`. On Err::Restart the state is Partial Undo and holds that reference.
Result<void> undo_validation(Mfn mfn, FrameType type, u32 progress, bool holds_reference) {
    FrameInfo& info = frame_info(mfn);
    const TypeWord idle = TypeWord{}.with_type(type);
    if (auto done = release_entries(mfn, type, progress); !done) {
        if (!holds_reference)
            get_another(mfn);
        info.type.store(idle.with(TypeWord::Partial | TypeWord::Undo).with_progress(progress).raw,
                        std::memory_order_release);
        return done.error();
    }
    note_stale_translations();
    info.type.store(idle.raw, std::memory_order_release);
    if (holds_reference)
        put_frame(mfn);
    return {};
}

// The frame is Locked with count 0 by this CPU; make it valid as `type` with count 1.
Result<void> run_validation(Mfn mfn, FrameType type, u32 progress, bool holds_reference) {
    FrameInfo& info = frame_info(mfn);
    const TypeWord typed = TypeWord{}.with_type(type);
    auto result = validate_entries(mfn, type, progress);
    if (result) {
        info.type.store(typed.with_count(1).raw, std::memory_order_release);
        if (holds_reference)
            put_frame(mfn);
        return {};
    }
    if (result.error() == Err::Restart) {
        if (!holds_reference)
            get_another(mfn);
        info.type.store(typed.with(TypeWord::Partial).with_progress(progress).raw, std::memory_order_release);
        return Err::Restart;
    }
    if (auto undone = undo_validation(mfn, type, progress, holds_reference); !undone)
        return undone.error();
    return result.error();
}

// Somebody's half-way validation (count 0, Partial). True: completed, and the use is the caller's; false: it is gone,
// look at the frame again. A failed one reports its failure to whoever wanted that same type: most likely the same
// hypercall, restarted.
Result<bool> settle_partial(Mfn mfn, FrameInfo& info, TypeWord now, FrameType want) {
    if (!swap_type(info, now, now.without(TypeWord::Partial | TypeWord::Undo).with(TypeWord::Locked)))
        return false;
    if (!now.has(TypeWord::Undo) && now.type() == want) {
        TRY(run_validation(mfn, want, now.progress(), true));
        return true;
    }
    TRY(undo_validation(mfn, now.type(), now.progress(), true));
    if (now.has(TypeWord::Undo) && now.type() == want)
        return Err::Inval;
    return false;
}

// Count is zero and the type is to become `want`.
Result<void> change_type(Mfn mfn, FrameInfo& info, TypeWord now, FrameType want, bool& lost_race) {
    const TypeWord typed = TypeWord{}.with_type(want);
    if (!swap_type(info, now, typed.with(TypeWord::Locked))) {
        lost_race = true;
        return {};
    }
    if (now.type() != want && now.type() != FrameType::None)
        flush_stale_translations();
    if (needs_validation(want))
        return run_validation(mfn, want, 0, false);
    info.type.store(typed.with_count(1).raw, std::memory_order_release);
    return {};
}

} // namespace

FrameInfo& frame_info(Mfn mfn) {
    return static_cast<FrameInfo*>(arch::frame_table_base())[mfn.n];
}

FrameInfo* find_frame(Mfn mfn) {
    if (mfn.n >= arch::frame_limit())
        return nullptr;
    FrameInfo& info = frame_info(mfn);
    return TypeWord{info.type.load(std::memory_order_relaxed)}.has(TypeWord::Device) ? nullptr : &info;
}

Result<void> get_frame(Mfn mfn, const Domain& owner) {
    FrameInfo* info = find_frame(mfn);
    if (!info)
        return Err::Inval;
    if (hold_frame(*info, mfn, owner)) [[likely]]
        return {};
    return Err::Perm;
}

void get_another(Mfn mfn) {
    const u64 before = frame_info(mfn).refs.fetch_add(1, std::memory_order_acq_rel);
    assert_slow((before & refs_mask) != 0);
    static_cast<void>(before);
}

void put_frame(Mfn mfn) {
    let_frame_go(frame_info(mfn), mfn);
}

namespace {

// Apart from what is done plainly: it needs all of the CPU's registers.
[[gnu::noinline]] Result<void> get_type_slowly(Mfn mfn, FrameType want) {
    FrameInfo& info = frame_info(mfn);
    for (;;) {
        if (get_type_plainly(info, want))
            return {};
        TypeWord now{info.type.load(std::memory_order_acquire)};
        // Locked as something else: it may be this CPU's own lock, of a table that a guest made reach itself. A lock
        // of the wanted type is another CPU's, because levels only go down: then waiting ends.
        if (now.has(TypeWord::Locked) && now.type() != want)
            return Err::Busy;
        now = unlocked_word(info);
        if (now.has(TypeWord::Partial)) {
            if (now.count() != 0)
                return Err::Busy;
            if (TRY(settle_partial(mfn, info, now, want)))
                return {};
            continue;
        }
        if (now.count() == 0) {
            bool lost_race = false;
            TRY(change_type(mfn, info, now, want, lost_race));
            if (!lost_race)
                return {};
            continue;
        }
        if (!now.is_plainly(want))
            return Err::Busy;
    }
}

} // namespace

Result<void> get_type(Mfn mfn, FrameType want) {
    if (get_type_plainly(frame_info(mfn), want)) [[likely]]
        return {};
    return get_type_slowly(mfn, want);
}

Result<FrameType> get_present_type(Mfn mfn) {
    FrameInfo& info = frame_info(mfn);
    for (;;) {
        TypeWord now = unlocked_word(info);
        if (now.has(TypeWord::Partial) || now.count() == 0 || now.count() == TypeWord::count_mask)
            return Err::Busy;
        if (swap_type(info, now, now.with_count(now.count() + 1)))
            return now.type();
    }
}

namespace {

[[gnu::noinline]] Result<void> put_table_type(Mfn mfn) {
    FrameInfo& info = frame_info(mfn);
    TypeWord now;
    do { // somebody may come to use the table just now
        if (put_type_plainly(info))
            return {};
        now = unlocked_word(info);
    } while (now.count() != 1 ||
             !swap_type(info, now, now.without(TypeWord::Partial | TypeWord::Undo).with(TypeWord::Locked)));
    u32 progress = now.has(TypeWord::Partial) ? now.progress() : table_entries;
    const TypeWord typed = TypeWord{}.with_type(now.type());
    if (auto done = release_entries(mfn, now.type(), progress); !done) {
        info.type.store(typed.with_count(1).with(TypeWord::Partial | TypeWord::Undo).with_progress(progress).raw,
                        std::memory_order_release);
        return done.error();
    }
    note_stale_translations();
    info.type.store(typed.raw, std::memory_order_release);
    return {};
}

} // namespace

Result<void> put_type_preemptible(Mfn mfn) {
    if (put_type_plainly(frame_info(mfn))) [[likely]]
        return {};
    return put_table_type(mfn);
}

void put_type(Mfn mfn) {
    while (!put_type_preemptible(mfn))
        ;
}

Result<void> abandon_validation(Mfn mfn) {
    FrameInfo& info = frame_info(mfn);
    for (;;) {
        const TypeWord now = unlocked_word(info);
        if (!now.has(TypeWord::Partial) || now.count() != 0)
            return {};
        TRY(settle_partial(mfn, info, now, FrameType::None));
    }
}

void note_stale_translations() {
    stale_noted.fetch_add(1, std::memory_order_release);
}

void flush_stale_translations() {
    const u64 noted = stale_noted.load(std::memory_order_acquire);
    if (noted == stale_flushed.load(std::memory_order_acquire))
        return;
    arch::flush_all(all_cpus());
    stale_flushed.store(noted, std::memory_order_release);
}

bool translations_are_stale() {
    return stale_noted.load(std::memory_order_acquire) != stale_flushed.load(std::memory_order_acquire);
}

} // namespace domus::hv
