// See grants.hpp.
#include "frontend-drivers/guestkit/drivers/grants.hpp"

namespace domus::guest {

GrantTable::GrantTable(Platform& platform)
    : platform_(platform), entries_(platform.grant_entries() < most ? platform.grant_entries() : most) {
    for (u32 reference = entries_; reference-- > first;) {
        next_[reference] = static_cast<u16>(free_);
        free_ = reference;
    }
}

Result<u32> GrantTable::lend(u16 to, const void* address, Lend how) {
    if (free_ == 0)
        return Err::NoSpace;
    const u32 reference = free_;
    free_ = next_[reference];
    ++lent_;
    grant_entry_v1_t& entry = platform_.grant_table()[reference];
    entry.domid = to;
    entry.frame = static_cast<u32>(platform_.frame_of(address).n);
    const u16 flags = GTF_permit_access | (how == Lend::ReadOnly ? GTF_readonly : 0);
    __atomic_store_n(&entry.flags, flags, __ATOMIC_RELEASE); // the hypervisor reads the rest once it sees the flags
    return reference;
}

Result<void> GrantTable::take_back(u32 reference) {
    if (reference < first || reference >= entries_)
        return Err::Inval;
    u16& flags = platform_.grant_table()[reference].flags;
    u16 seen = __atomic_load_n(&flags, __ATOMIC_RELAXED);
    do
        if (seen & (GTF_reading | GTF_writing))
            return Err::Busy;
    while (!__atomic_compare_exchange_n(&flags, &seen, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    next_[reference] = static_cast<u16>(free_);
    free_ = reference;
    --lent_;
    return {};
}

} // namespace domus::guest
