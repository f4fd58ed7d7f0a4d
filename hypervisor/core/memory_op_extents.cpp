// memory_op: giving memory to a domain and taking it back, by lists of extents, and claims. Source: <xen/memory.h>.
// Locks: Rank::Pages and Rank::Frames inside the calls. Preemptible between extents.
// ISOLATION, memory operations: order, count and address limits; an extent counts only once it is told to the caller,
// and every error path gives back what it took.
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/memory_op.hpp"

namespace domus::hv {
namespace {

struct Extents {
    xen_memory_reservation_t reservation;
    DomainRef target;
    GuestPtr<xen_pfn_t> list;
    u64 frames() const { return u64{1} << reservation.extent_order; }
};

Result<Extents> extents_of(const MemoryCall& memory) {
    const auto reservation = TRY(copy_in(memory.argument.as<xen_memory_reservation_t>()));
    // The number done travels in the command, above its 6 bits: what does not fit there cannot be resumed.
    if (reservation.nr_extents > ~u64{0} >> 6 || memory.done > reservation.nr_extents)
        return Err::Inval;
    if (reservation.extent_order > largest_order(memory.caller())) {
        why(memory.caller(), "extents of order {} are more than it may ask for", reservation.extent_order);
        return Err::Perm;
    }
    return Extents{reservation, TRY(find_target(memory.caller(), reservation.domid)),
                   guest_ptr(reservation.extent_start)};
}

void give_back(Domain& domain, Mfn first, u64 frames) {
    for (u64 i = 0; i < frames; ++i)
        static_cast<void>(release_domain_frame(domain, first + i));
}

u32 address_bits_of(const Extents& extents) {
    const u32 bits = XENMEMF_get_address_bits(extents.reservation.mem_flags);
    return bits == 0 || bits > 64 ? 64 : bits;
}

// Run `body` for extents from memory.done on. Its failure ends the list: what was done before is the answer.
template <class Body>
Result<i64> for_each_extent(MemoryCall& memory, const Extents& extents, Body&& body) {
    const u64 count = extents.reservation.nr_extents;
    for (u64 i = memory.done; i < count; ++i) {
        if (i != memory.done && i % 16 == 0 && must_yield())
            return memory.later(i);
        if (!body(i))
            return static_cast<i64>(i);
    }
    return static_cast<i64>(count);
}

Result<void> populate_one(const Extents& extents, u64 i) {
    const u64 pfn = TRY(copy_in(extents.list, i));
    const Mfn first =
        TRY(allocate_domain_frames(*extents.target, extents.reservation.extent_order, address_bits_of(extents)));
    for (u64 k = 0; k < extents.frames(); ++k)
        arch::write_m2p(first + k, pfn + k);
    if (auto told = copy_out(extents.list, first.n, i); !told) {
        give_back(*extents.target, first, extents.frames());
        return told;
    }
    return {};
}

Result<void> increase_one(const Extents& extents, u64 i) {
    const Mfn first =
        TRY(allocate_domain_frames(*extents.target, extents.reservation.extent_order, address_bits_of(extents)));
    if (extents.list.is_null())
        return {};
    if (auto told = copy_out(extents.list, first.n, i); !told) {
        give_back(*extents.target, first, extents.frames());
        return told;
    }
    return {};
}

Result<void> decrease_one(const Extents& extents, u64 i) {
    const u64 first = TRY(copy_in(extents.list, i));
    for (u64 k = 0; k < extents.frames(); ++k) {
        if (auto released = release_domain_frame(*extents.target, Mfn(first + k)); !released) {
            why(*extents.target, "decrease_reservation of frame {x}, which is not its own", first + k);
            return released;
        }
    }
    return {};
}

Result<i64> populate_extents(MemoryCall& memory) {
    const Extents extents = TRY(extents_of(memory));
    if (extents.target->life.load() == Life::Dying)
        return Err::Inval;
    return for_each_extent(memory, extents, [&](u64 i) { return populate_one(extents, i); });
}

Result<i64> increase_extents(MemoryCall& memory) {
    const Extents extents = TRY(extents_of(memory));
    if (extents.target->life.load() == Life::Dying)
        return Err::Inval;
    return for_each_extent(memory, extents, [&](u64 i) { return increase_one(extents, i); });
}

Result<i64> decrease_extents(MemoryCall& memory) {
    const Extents extents = TRY(extents_of(memory));
    return for_each_extent(memory, extents, [&](u64 i) { return decrease_one(extents, i); });
}

// The guest is told the number of extents done: what stops the first one is 0, whatever it was (as Xen 4.17 answers).
Result<i64> counted(const MemoryCall& memory, Result<i64> result) {
    return result || result.error() == Err::Restart ? result : Result<i64>(static_cast<i64>(memory.done));
}

} // namespace

Result<i64> populate_physmap(MemoryCall& memory) {
    return counted(memory, populate_extents(memory));
}
Result<i64> increase_reservation(MemoryCall& memory) {
    return counted(memory, increase_extents(memory));
}
Result<i64> decrease_reservation(MemoryCall& memory) {
    return counted(memory, decrease_extents(memory));
}

Result<i64> claim_pages(MemoryCall& memory) {
    const auto request = TRY(copy_in(memory.argument.as<xen_memory_reservation_t>()));
    if (!guest_ptr(request.extent_start).is_null() || request.extent_order != 0 || request.mem_flags != 0)
        return Err::Inval;
    const DomainRef target = TRY(find_target(memory.caller(), request.domid));
    if (auto claimed = set_claim(*target, request.nr_extents); !claimed) {
        why(memory.caller(), "claim of {} pages for d{}: {} are free, {} of them claimed", request.nr_extents,
            target->id, free_frame_count(), claimed_frame_count());
        return claimed.error();
    }
    return i64{0};
}

} // namespace domus::hv
