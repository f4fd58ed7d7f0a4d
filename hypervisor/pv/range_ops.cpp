// Operations on a run of L1 entries, or one of them, in one hypercall: everything is in registers, nothing is copied
// from the guest. Interface: hypervisor/abi/domus.h, DOMUS_EXT_protect, DOMUS_EXT_clear and DOMUS_EXT_exchange. Each
// entry is changed by write_l1, so the rules are those of mmu_update. Locks: none; a type reference of the table while
// the call works on it.
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/extension_tables.hpp"
#include "hypervisor/core/frame_owner.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/mmu_entry.hpp"
#include "hypervisor/pv/mmu_walk.hpp"
#include "hypervisor/pv/page_entry.hpp"

namespace domus::hv {
namespace {

// Neither the frame nor presence nor how it is cached: what a run has in common are rights and marks.
constexpr u64 software_bits = u64{0x7ff} << 52 | u64{7} << 9;
constexpr u64 changeable =
    entry::writable | entry::accessed | entry::dirty | entry::no_execute | entry::user | software_bits;

constexpr u32 entries_per_look = 64; // between looks at what else waits

struct Run {
    EntryPlace place;
    u32 count;
};

Result<Run> run_of(const Call& call) {
    const u64 address = call.args[1];
    const u32 index = static_cast<u32>((address & page_mask) / sizeof(u64));
    if (address % sizeof(u64) != 0 || call.args[2] > table_entries - index)
        return Err::Inval;
    return Run{{frame_of(Maddr(address)), index}, static_cast<u32>(call.args[2])};
}

// Calls change(index) for each entry of the run.
template <class Change>
Result<i64> for_each_entry(Call& call, Change&& change) {
    const Run run = TRY(run_of(call));
    if (!open_l1(run.place, call.domain)) {
        why(call.domain, "a run of entries in frame {x}, which is no L1 table of the domain's", run.place.table);
        return Err::Inval;
    }
    Result<void> result{};
    u32 done = 0;
    while (done < run.count && result) {
        if (done % entries_per_look == entries_per_look - 1 && must_yield())
            break;
        result = change(run.place.index + done);
        done += result ? 1 : 0;
    }
    close_l1(run.place);
    count(call.domain, Count::PteUpdates, done);
    TRY(result);
    if (done < run.count)
        return call.resume_later(call.args[0], call.args[1] + done * sizeof(u64), run.count - done);
    return i64{0};
}

} // namespace

Result<i64> protect_entries(Call& call, GuestPtr<void>) {
    const u64 clear = call.args[3], set = call.args[4];
    if (((clear | set) & ~changeable) != 0)
        return Err::Inval;
    const Mfn table = frame_of(Maddr(call.args[1]));
    const DataOwner from = own_frames(call.domain);
    return for_each_entry(call, [&](u32 index) -> Result<void> {
        for (;;) {
            const u64 old = arch::read_entry(table, index);
            const u64 value = (old & ~clear) | set;
            if (!entry::is_present(old) || value == old)
                return {};
            // The processor may set accessed and dirty bits meanwhile: they are not to be lost.
            const auto written = write_l1({table, index, value, AccessBits::Replace, &old}, from, call.domain);
            if (written || written.error() != Err::Again)
                return written;
        }
    });
}

Result<i64> clear_entries(Call& call, GuestPtr<void>) {
    const Mfn table = frame_of(Maddr(call.args[1]));
    const DataOwner from = own_frames(call.domain);
    return for_each_entry(call, [&](u32 index) { return write_l1({table, index, 0}, from, call.domain); });
}

Result<i64> exchange_entry(Call& call, GuestPtr<void>) {
    const u64 address = call.args[1];
    const EntryPlace place{frame_of(Maddr(address)), static_cast<u32>((address & page_mask) / sizeof(u64))};
    if (address % sizeof(u64) != 0 || !open_l1(place, call.domain)) {
        why(call.domain, "exchange at {x}, which is no entry of an L1 table of the domain's", address);
        return Err::Inval;
    }
    count(call.domain, Count::PteUpdates);
    u64 old;
    Result<void> written{};
    do {
        old = arch::read_entry(place.table, place.index);
        written = write_l1({place.table, place.index, call.args[2], AccessBits::Replace, &old}, own_frames(call.domain),
                           call.domain);
    } while (!written && written.error() == Err::Again);
    close_l1(place);
    TRY(written);
    return static_cast<i64>(old);
}

} // namespace domus::hv
