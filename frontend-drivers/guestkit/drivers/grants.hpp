// Grants of this guest, version 1 (<xen/grant_table.h>): pages lent to another domain and taken back. Owner: Kit.
// No lock: one vcpu. The hypervisor marks entries in use by atomic operations on `flags`, so here too it changes only
// so.
#pragma once

#include "frontend-drivers/guestkit/drivers/platform.hpp"

namespace domus::guest {

enum class Lend { ReadOnly, Writable };

class GrantTable {
public:
    static constexpr u32 first = GNTTAB_NR_RESERVED_ENTRIES, most = 2048;

    explicit GrantTable(Platform& platform);

    // Lends the page that holds `address` to a domain. NoSpace: the table is full.
    Result<u32> lend(u16 to, const void* address, Lend how = Lend::Writable);
    // Takes it back. Busy: the other domain still has it mapped; the reference and the page are then not free.
    Result<void> take_back(u32 reference);

    u32 lent() const { return lent_; }

private:
    Platform& platform_;
    u32 entries_;
    u32 free_ = 0, lent_ = 0; // free_: first of the list through next_, 0 ends it
    u16 next_[most] = {};
};

} // namespace domus::guest
