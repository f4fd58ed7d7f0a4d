// The grant table of one domain and the mappings it holds of others' grants. Owner: Domain.
// Lock: Rank::Grants (table), Rank::Maptrack (mappings held).
#pragma once

#include "hypervisor/abi/xen.hpp"
#include "hypervisor/base/guarded.hpp"
#include "hypervisor/base/result.hpp"

namespace domus::hv {

struct Call;
struct Domain;
struct GrantState; // core/grants.cpp

class GrantTable {
public:
    explicit GrantTable(Domain& owner);
    ~GrantTable();

    Result<void> start(u32 max_frames, u32 max_maptrack_frames, u32 max_version);
    Result<Mfn> frame_for_guest(u32 index, bool status); // XENMAPSPACE_grant_table and setup_table; grows the table
    // A dying domain: give up all mappings it holds, then its own table. Preemptible: Err::Restart. The page-table
    // entries themselves, and the references they carry, go with its page tables (before or after this).
    Result<void> release_mappings(Call&);
    // The shared frames only: a domain that could not be made. No grant can be used after it.
    void give_back_table();
    u32 version() const;

    Domain& owner() const { return owner_; }
    GrantState* state() const { return state_; }

private:
    Domain& owner_;
    GrantState* state_;
};

// How a grant is put into and taken out of a guest's page tables: implemented by pv/grant_map.cpp (and by the fake).
//
// Who owns the references: the entry. map_grant_pte is called with one general reference (and a Writable type
// reference unless GNTMAP_readonly) that become the entry's if it succeeds. unmap_grant_pte hands them back to the
// caller, who drops them after flushing. If the guest removes the entry in another way (mmu_update, teardown), they
// are dropped like those of any entry; a later unmap then fails because the entry does not match. Thus no order of
// events drops a reference twice. No flush inside. No Grants or Maptrack lock is held by the caller.
// Err::Fault, Err::Inval: no such entry, or it maps something else; Err::Busy: the slot is in use.
struct GrantMapRequest {
    u64 host_address; // guest virtual address, or machine address of the PTE with GNTMAP_contains_pte
    u32 flags;        // GNTMAP_*
    Mfn frame;
};
Result<void> map_grant_pte(Domain&, const GrantMapRequest&);
Result<void> unmap_grant_pte(Domain&, const GrantMapRequest&); // the PTE must map that frame with that permission
Result<void> replace_grant_pte(Domain&, const GrantMapRequest&, u64 new_address); // unmap_and_replace

// __HYPERVISOR_grant_table_op. Source: <xen/grant_table.h>; docs/events-and-grants.md.
Result<i64> grant_table_op(Call&, u32 command, u64 arguments, u32 count);

} // namespace domus::hv
