// The one L1 table of a domain that is out of force for a while, so that its guest can write it as plain memory. Data
// only; pv/unhooked.hpp says how a table gets there and back. Owner: Domain. Lock: Rank::PageTables.
#pragma once

#include "hypervisor/base/types.hpp"

#include <atomic>

namespace domus::hv {

struct Domain;

// How many stores to one table in a row are emulated before it is unhooked (option unhook=).
inline constexpr u32 unhook_after_default = 8;

struct UnhookedTable {
    Mfn table = invalid_mfn; // invalid_mfn: none is

    // The L2 entry that leads to it. The guest reads there what it wrote, but for the user bit.
    Mfn hook_table = invalid_mfn;
    u32 hook_index = 0;

    // The L1 entry by which the guest writes to it, made writable. All three tables are held by a reference.
    Mfn alias_table = invalid_mfn;
    u32 alias_index = 0;

    // Its contents when it was last in force: what its references stand for. Kept for the next one; freed with the
    // domain.
    Mfn copy = invalid_mfn;
};

// How many domains have one in this moment: what the hot paths look at.
extern "C" std::atomic<u32> unhooked_tables;
inline bool any_unhooked() {
    return unhooked_tables.load(std::memory_order_relaxed) != 0;
}

// Before the hypervisor reads or writes guest memory: the user bit that stops the guest does not stop it, so what the
// copy would walk through comes back first.
void prepare_copy_slowly(u64 address, usize bytes);
inline void prepare_copy(u64 address, usize bytes) {
    if (any_unhooked()) [[unlikely]]
        prepare_copy_slowly(address, bytes);
}

// The domain dies: bring its table back and free the copy. Its vcpus do not run.
void end_unhooking(Domain&);

} // namespace domus::hv
