// Whose a frame is: each domain's list of frames and its counts. Owner: Domain. Lock: Rank::Pages of that domain.
// Called by memory operations, the domain builder, teardown, and by whoever drops a frame's last reference (so any
// lock below Rank::Pages may be held). A domain lives as long as it owns a frame: the list holds a reference to it.
#include "hypervisor/core/frame_owner.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/log.hpp"

namespace domus::hv {
namespace {

u32 number(u64 frame) {
    return static_cast<u32>(frame);
}

void link_first(OwnedFrames& list, Mfn mfn) {
    FrameInfo& info = frame_info(mfn);
    info.previous = 0;
    info.next = number(list.head);
    if (list.head != 0)
        frame_info(Mfn(list.head)).previous = number(mfn.n);
    else
        list.tail = mfn.n;
    list.head = mfn.n;
}

void link_last(OwnedFrames& list, Mfn mfn) {
    FrameInfo& info = frame_info(mfn);
    info.next = 0;
    info.previous = number(list.tail);
    if (list.tail != 0)
        frame_info(Mfn(list.tail)).next = number(mfn.n);
    else
        list.head = mfn.n;
    list.tail = mfn.n;
}

void unlink(OwnedFrames& list, Mfn mfn) {
    FrameInfo& info = frame_info(mfn);
    if (info.previous != 0)
        frame_info(Mfn(info.previous)).next = info.next;
    else
        list.head = info.next;
    if (info.next != 0)
        frame_info(Mfn(info.next)).previous = info.previous;
    else
        list.tail = info.previous;
    info.next = info.previous = 0;
}

// Enter frames in the domain's list; they are the hypervisor's and nobody knows them yet. Reference and type words
// are written last: from then on others may take references.
Result<void> give(Domain& domain, Mfn first, u64 count, u64 flags, TypeWord type) {
    return domain.frames.with([&](OwnedFrames& list) -> Result<void> {
        const bool counted = (flags & shared_flag) == 0;
        if (domain.life.load() == Life::Dying || domain.life.load() == Life::Dead)
            return Err::Inval; // teardown walks the list: nothing may come after it
        if (counted && (list.total > list.maximum || list.maximum - list.total < count))
            return Err::NoMem;
        if (list.total + list.shared == 0)
            domain.references.fetch_add(1, std::memory_order_relaxed);
        (counted ? list.total : list.shared) += count;
        for (u64 i = 0; i < count; ++i) {
            FrameInfo& info = frame_info(first + i);
            link_first(list, first + i);
            info.owner.store(&domain, std::memory_order_relaxed);
            info.type.store(type.raw, std::memory_order_relaxed);
            info.refs.store(flags | 1, std::memory_order_release);
        }
        return {};
    });
}

// Take a frame out of its owner's list. The domain may cease to exist when the returned reference goes.
DomainRef take(Domain& domain, Mfn mfn, bool counted) {
    const bool last = domain.frames.with([&](OwnedFrames& list) {
        unlink(list, mfn);
        --(counted ? list.total : list.shared);
        return list.total + list.shared == 0;
    });
    return last ? DomainRef(&domain) : DomainRef();
}

// The part of an allocation that the domain's claim covers, taken off the claim; and back again.
u64 take_claim(Domain& domain, u64 count) {
    return domain.frames.with([&](OwnedFrames& list) {
        const u64 covered = list.claimed < count ? list.claimed : count;
        list.claimed -= covered;
        return covered;
    });
}

void put_claim(Domain& domain, u64 count) {
    domain.frames.with([&](OwnedFrames& list) {
        if (domain.life.load() >= Life::Dying) // its claim was taken back meanwhile: nobody would do so again
            unclaim_frames(count);
        else
            list.claimed += count;
    });
}

// Clear the allocation flag. False: it was not set (any more).
bool take_allocation(FrameInfo& info) {
    return (info.refs.fetch_and(~allocated_flag, std::memory_order_acq_rel) & allocated_flag) != 0;
}

} // namespace

void return_frame(Mfn mfn) {
    FrameInfo& info = frame_info(mfn);
    Domain* owner = info.owner.load(std::memory_order_relaxed);
    const u64 refs = info.refs.load(std::memory_order_acquire);
    assert_slow(owner != nullptr && TypeWord{info.type.load()}.count() == 0);
    const DomainRef last = take(*owner, mfn, (refs & shared_flag) == 0);
    info.owner.store(nullptr, std::memory_order_relaxed);
    info.refs.store(0, std::memory_order_relaxed);
    // ISOLATION, TLB: no translation to this frame outlives its coming into other hands.
    note_stale_translations();
    free_frames(mfn);
}

Result<Mfn> allocate_domain_frames(Domain& domain, u32 order, u32 address_bits) {
    const u64 of_claim = take_claim(domain, u64{1} << order);
    const auto first = allocate_claimed_frames(order, address_bits, of_claim);
    if (!first) {
        put_claim(domain, of_claim);
        return first;
    }
    if (auto given = give(domain, first.value(), u64{1} << order, allocated_flag, TypeWord{}); !given) {
        free_frames(first.value(), order);
        if (of_claim != 0 && claim_frames(of_claim))
            put_claim(domain, of_claim);
        return given.error();
    }
    return first;
}

Result<void> set_claim(Domain& domain, u64 pages) {
    return domain.frames.with([&](OwnedFrames& list) -> Result<void> {
        if (pages == 0) {
            unclaim_frames(list.claimed);
            list.claimed = 0;
            return {};
        }
        if (list.claimed != 0 || pages <= list.total || domain.life.load() >= Life::Dying)
            return Err::Inval;
        if (pages > list.maximum)
            return Err::Inval;
        TRY(claim_frames(pages - list.total));
        list.claimed = pages - list.total;
        return {};
    });
}

Result<void> adopt_frame(Domain& domain, Mfn mfn) {
    FrameInfo* info = find_frame(mfn);
    if (!info || info->owner.load(std::memory_order_relaxed) || TypeWord{info->type.load()}.has(TypeWord::Free))
        return Err::Inval;
    // A frame that comes back to the domain it was stolen from has no history that would ask for this flush later.
    flush_stale_translations();
    return give(domain, mfn, 1, allocated_flag, TypeWord{});
}

Result<void> release_domain_frame(Domain& domain, Mfn mfn) {
    TRY(get_frame(mfn, domain));
    FrameInfo& info = frame_info(mfn);
    const bool ours = (info.refs.load(std::memory_order_relaxed) & shared_flag) == 0 && take_allocation(info);
    put_frame(mfn);
    if (!ours)
        return Err::Inval;
    put_frame(mfn);
    return {};
}

Result<void> steal_frame(Domain& domain, Mfn mfn) {
    TRY(get_frame(mfn, domain));
    FrameInfo& info = frame_info(mfn);
    // Exactly the allocation reference and ours, and no type in force: swapped for nothing in one step, so that
    // nobody can take a reference in between.
    u64 sole = allocated_flag | 2;
    if (TypeWord{info.type.load(std::memory_order_acquire)}.count() != 0 ||
        !info.refs.compare_exchange_strong(sole, 0, std::memory_order_acq_rel)) {
        const bool inval = (info.refs.load() & allocated_flag) == 0;
        put_frame(mfn);
        return inval ? Err::Inval : Err::Busy;
    }
    const DomainRef last = take(domain, mfn, true);
    info.owner.store(nullptr, std::memory_order_relaxed);
    info.type.store(0, std::memory_order_release);
    note_stale_translations();
    return {};
}

Result<Mfn> allocate_shared_frame(Domain& domain, bool writable) {
    const Mfn mfn = TRY(allocate_frames());
    // The one use as that type is the hypervisor's: the page can never become a page table.
    const TypeWord type = TypeWord{}.with_type(writable ? FrameType::Writable : FrameType::Shared).with_count(1);
    if (auto given = give(domain, mfn, 1, allocated_flag | shared_flag, type); !given) {
        free_frames(mfn);
        return given.error();
    }
    return mfn;
}

Mfn next_to_relinquish(Domain& domain) {
    return domain.frames.with([&](OwnedFrames& list) {
        // The head may be going away in this moment by another CPU's hand: then it is nobody's to relinquish.
        const Mfn head(list.head);
        if (head.n == 0 || (frame_info(head).refs.load(std::memory_order_acquire) & relinquished_flag) != 0)
            return Mfn{0};
        return head;
    });
}

void relinquish(Domain& domain, Mfn mfn) {
    FrameInfo& info = frame_info(mfn);
    domain.frames.with([&](OwnedFrames& list) {
        unlink(list, mfn);
        link_last(list, mfn);
    });
    info.refs.fetch_or(relinquished_flag, std::memory_order_acq_rel);
    // Pages of the hypervisor's own are given back by the part they belong to (shared_info, the grant table).
    const bool shared = (info.refs.load(std::memory_order_relaxed) & shared_flag) != 0;
    if (!shared && take_allocation(info))
        put_frame(mfn);
}

void free_shared_frame(Domain& domain, Mfn mfn) {
    FrameInfo* info = find_frame(mfn);
    if (!info || info->owner.load() != &domain || (info->refs.load() & shared_flag) == 0 || !take_allocation(*info))
        return;
    put_frame_and_type(mfn);
}

} // namespace domus::hv
