// How a grant gets into and out of a guest's page tables: the three functions that core/grants.hpp declares. The entry
// owns the references the frame came with; a guest that removes it in another way drops them like any mapping's.
// Called by grant-table operations of the current vcpu, with no grant lock held. No flush inside.
//
// ISOLATION, grants: the PTE a mapping goes to: an aligned entry of an L1 table of the mapper's own; at unmap, the
// entry must map that frame with that permission.
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/grants.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/mmu_entry.hpp"
#include "hypervisor/pv/mmu_walk.hpp"
#include "hypervisor/pv/page_entry.hpp"

namespace domus::hv {
namespace {

u64 entry_for(const GrantMapRequest& request) {
    u64 flags = entry::present | entry::user | entry::accessed | entry::dirty;
    if ((request.flags & GNTMAP_readonly) == 0)
        flags |= entry::writable;
    // The three bits that a guest keeps for itself in an entry.
    flags |= static_cast<u64>(request.flags >> _GNTMAP_guest_avail0 & 7) << 9;
    return entry::make(request.frame, flags);
}

Result<EntryPlace> place_of(Domain& domain, u64 host_address, u32 flags) {
    if ((flags & GNTMAP_contains_pte) != 0) {
        if (host_address % sizeof(u64) != 0)
            return Err::Inval;
        return EntryPlace{frame_of(Maddr(host_address)), static_cast<u32>((host_address & page_mask) / sizeof(u64))};
    }
    if (&current().domain != &domain)
        return Err::Inval; // an address means something only in the address space in force
    const auto found = walk(current().pv.kernel_root, Vaddr(host_address));
    if (!found)
        return Err::Inval;
    return found->l1;
}

// The entry's place, held as an L1 table of the domain's.
Result<EntryPlace> open_place(Domain& domain, u64 host_address, u32 flags) {
    const auto place = place_of(domain, host_address, flags);
    if (place && open_l1(place.value(), domain))
        return place.value();
    why(domain, "grant mapping at {x}: no entry of an L1 table of its own", host_address);
    return Err::Inval;
}

bool maps(u64 value, const GrantMapRequest& request) {
    return entry::is_present(value) && entry::frame(value) == request.frame &&
           entry::is_writable(value) == ((request.flags & GNTMAP_readonly) == 0);
}

// Take the mapping out of its entry, leaving `replacement` there.
Result<void> remove(Domain& domain, const EntryPlace& place, const GrantMapRequest& request, u64 replacement) {
    u64 old = arch::read_entry(place.table, place.index);
    do {
        if (!maps(old, request)) {
            why(domain, "the entry at {x} does not map the granted frame {x} so", request.host_address, request.frame);
            return Err::Inval;
        }
    } while (!arch::exchange_entry(place.table, place.index, old, replacement));
    return {};
}

} // namespace

Result<void> map_grant_pte(Domain& domain, const GrantMapRequest& request) {
    const EntryPlace place = TRY(open_place(domain, request.host_address, request.flags));
    u64 old = arch::read_entry(place.table, place.index);
    while (!arch::exchange_entry(place.table, place.index, old, entry_for(request)))
        ;
    if (entry::is_present(old))
        drop_target(old);
    close_l1(place);
    return {};
}

Result<void> unmap_grant_pte(Domain& domain, const GrantMapRequest& request) {
    const EntryPlace place = TRY(open_place(domain, request.host_address, request.flags));
    const auto removed = remove(domain, place, request, 0);
    close_l1(place);
    return removed;
}

// The entry at `new_address` moves to where the grant was mapped, with its references, and leaves nothing behind.
Result<void> replace_grant_pte(Domain& domain, const GrantMapRequest& request, u64 new_address) {
    if (new_address == 0)
        return unmap_grant_pte(domain, request);
    if ((request.flags & GNTMAP_contains_pte) != 0)
        return Err::OpNotSupp;
    const EntryPlace place = TRY(open_place(domain, request.host_address, request.flags));
    const auto source = open_place(domain, new_address, request.flags);
    if (!source || (source.value().table == place.table && source.value().index == place.index)) {
        if (source)
            close_l1(source.value());
        close_l1(place);
        return Err::Inval;
    }
    u64 moved = arch::read_entry(source.value().table, source.value().index);
    while (!arch::exchange_entry(source.value().table, source.value().index, moved, 0))
        ;
    const auto removed = remove(domain, place, request, moved);
    if (!removed) { // put it back: if something came there meanwhile, this one goes as if it had been replaced
        u64 empty = 0;
        if (!arch::exchange_entry(source.value().table, source.value().index, empty, moved) && entry::is_present(moved))
            drop_target(moved);
    }
    close_l1(source.value());
    close_l1(place);
    return removed;
}

} // namespace domus::hv
