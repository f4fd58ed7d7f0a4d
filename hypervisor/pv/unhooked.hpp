// Unhooked tables: instead of emulating each store of a guest kernel to an L1 table in force, the table is taken out of
// force at one of them, the guest writes it directly, and it is validated once when it is used again (after the
// "writable page tables" of the SOSP 2003 paper on Xen). What for and what it costs: docs/memory.md.
//
// A domain has at most one. It is taken only if nothing but one L2 entry (and a pin) uses it. That entry stays, for the
// guest reads it, but loses the user bit: guests run in ring 3, so none can use what is behind it. (An absent entry, as
// in the paper, would be seen by an unmodified kernel.) While the table is out, its type word says "count n, Partial"
// (core/frame_word.hpp), which nobody can take a use of; its old references stay, held by the copy of its contents. It
// comes back, whatever the guest left there, at the first of:
//   - a fault in the range it maps, and a copy to or from the guest there;
//   - any hypercall but mmu_update and iret, and an mmu_update of itself or of any L2..L4;
//   - a stray write to any other table;
//   - the CPU's turn to another vcpu (so a paused or sleeping domain never has one out);
//   - the domain's death.
// Then only the entries that changed cost something. An entry that is refused becomes empty, and the log says so: the
// store that put it there is long over. The guest loses nothing that mmu_update would have let it do.
#pragma once

#include "hypervisor/core/domain.hpp"
#include "hypervisor/pv/mmu_walk.hpp"

namespace domus::hv {

// Start-up: unhook_after_default, or another number; 0: no table is ever unhooked.
void set_unhook_after(u32 stores);

// The current vcpu stores to `table`, an L1 table in force, by way of `alias`. True: it is unhooked, run the guest on.
bool unhook(Vcpu&, const Walk& alias, Mfn table);

void bring_back(Domain&);
inline void bring_back_if_any(Domain& domain) {
    if (any_unhooked() && domain.has_unhooked.load(std::memory_order_relaxed)) [[unlikely]]
        bring_back(domain);
}

// The CPU turns from a vcpu, which is still the current one, to another. While a table is out, every domain's crossings
// take the long way, so a vcpu that does not run has none.
void prepare_switch_from(Vcpu&);

// A fault. True: the table that maps the address was away and is back, run the guest on.
bool bring_back_for_slowly(Vcpu&, Vaddr);
inline bool bring_back_for(Vcpu& vcpu, Vaddr address) {
    return any_unhooked() && bring_back_for_slowly(vcpu, address);
}

// Somebody is going to write entries of `table`, a frame of the domain's.
void make_way(Domain&, Mfn table);

} // namespace domus::hv
