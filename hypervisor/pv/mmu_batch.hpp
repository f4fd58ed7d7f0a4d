// What mmu_update and mmuext_op share: lists that stop and go on, and whose frames they are about.
// Owner: the hypercall in progress. No lock.
#pragma once

#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/mmu_entry.hpp"

namespace domus::hv {

// Bit 31 of the count: the hypercall goes on; *done_out holds what was done before.
inline constexpr u32 resumed_bit = u32{1} << 31;

// The two domains named by `foreigndom`: owners of the data frames and of the page tables.
struct Parties {
    DomainRef data;   // empty: device frames only (DOMID_IO)
    DomainRef tables; // mmu_update only
    bool devices = false;
    DataOwner data_owner() const { return {data ? &*data : nullptr, devices}; }
};

// `domid` as mmu_update and mmuext_op know it. Err::Srch, Err::Perm.
inline Result<Parties> parties_of(Domain& caller, u32 foreign) {
    Parties parties;
    const u16 frames = static_cast<u16>(foreign);
    const u16 tables = static_cast<u16>(foreign >> 16);
    if (frames == DOMID_IO) {
        parties.devices = caller.privileged;
    } else {
        if (frames == DOMID_XEN)
            return Err::Perm; // nothing of the hypervisor's own is offered for mapping
        parties.data = TRY(find_target(caller, frames));
        parties.devices = parties.data->privileged;
    }
    parties.tables =
        TRY(find_target(caller, tables == 0 ? static_cast<u16>(DOMID_SELF) : static_cast<u16>(tables - 1)));
    return parties;
}

// Position in a guest's list. The result is the guest's count of completed operations.
struct Batch {
    u32 count = 0; // still to do, those of this run
    u32 done = 0;  // of this run
    u32 done_before = 0;
    GuestPtr<u32> done_out;

    static Result<Batch> start(u32 raw_count, GuestPtr<u32> done_out) {
        Batch batch{raw_count & ~resumed_bit, 0, 0, done_out};
        if ((raw_count & resumed_bit) != 0 && !done_out.is_null())
            batch.done_before = TRY(copy_in(done_out));
        return batch;
    }
    bool more() const { return done < count; }

    // Leave the hypercall: report what was done, with the result or to go on later.
    template <class T>
    Result<i64> leave(Call& call, GuestPtr<T> list, Result<void> result) const {
        if (!done_out.is_null())
            TRY(copy_out(done_out, done_before + done));
        if (result)
            return i64{0};
        if (result.error() != Err::Restart)
            return result.error();
        return call.resume_later(list.at(done).address, (count - done) | resumed_bit);
    }
};

} // namespace domus::hv
