// Operations on a run of L1 entries in one hypercall. Interface: hypervisor/abi/domus.h, DOMUS_EXT_protect (everything
// is in registers, nothing is copied from the guest) and DOMUS_EXT_map. The rules for each entry are write_l1's.
// Locks: none; a type reference of the table while the call works on it.
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/extension_tables.hpp"
#include "hypervisor/core/frame_plain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/mapped_frame.hpp"
#include "hypervisor/pv/mmu_entry.hpp"
#include "hypervisor/pv/mmu_walk.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/table_ways.hpp"

#include <algorithm>

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

// Calls block(table, first, end, result) for entries [first, end), a part of the run at a time. It answers where it
// stopped: before `end` with an error, at the entry that is refused, or when it tried often enough.
template <class Block>
Result<i64> in_blocks(Call& call, Block&& block) {
    const Run run = TRY(run_of(call));
    if (!open_l1(run.place, call.domain)) {
        why(call.domain, "a run of entries in frame {x}, which is no L1 table of the domain's", run.place.table);
        return Err::Inval;
    }
    Result<void> result{};
    const u32 first = run.place.index, end = first + run.count;
    u32 at = first;
    for (bool begun = false; at < end && result && (!begun || !must_yield()); begun = true)
        at = block(run.place.table, at, std::min(at + entries_per_look, end), result);
    close_l1(run.place);
    count(call.domain, Count::PteUpdates, at - first);
    TRY(result);
    if (at < end)
        return call.resume_later(call.args[0], call.args[1] + (at - first) * sizeof(u64), end - at);
    return i64{0};
}

enum class Given { Yes, Again, No };

// The entry goes on mapping its frame, a frame of the domain's own, and may be written from now on: what write_l1
// judges, only that the references it has are not taken anew. Again: the processor or another vcpu was faster. No: it
// is for write_l1 to judge.
[[gnu::always_inline]] inline Given give_writing(const Domain& domain, Mfn table, u32 index, u64 old, u64 value) {
    const Mfn mfn = entry::frame(old);
    FrameInfo* info = find_frame(mfn);
    // Held on its own meanwhile: another vcpu may take the entry, and with it the frame, away.
    if (!info || !goes(giving_writing) || !hold_frame(*info, mfn, domain))
        return Given::No;
    const bool fits = get_type_plainly(*info, FrameType::Writable);
    const bool swapped = fits && arch::exchange_entry(table, index, old, value);
    if (fits && !swapped) [[unlikely]]
        put_type(mfn); // while the frame is held: the entry's own reference may be gone
    let_frame_go(*info, mfn);
    if (swapped) [[likely]]
        return Given::Yes;
    return fits ? Given::Again : Given::No;
}

[[gnu::noinline]] Result<void> replace_as_a_whole(Domain& domain, Mfn table, u32 index, u64 old, u64 value) {
    return write_l1({table, index, value, AccessBits::Replace, &old}, own_frames(domain), domain);
}

struct Rights {
    Domain& domain;
    u64 clear, set;
};

// Each exchange that fails is tried again, as somebody else got on; so that this cannot go on for ever, a block has as
// many tries again as entries.
u32 protect_block(const Rights& rights, Mfn table, u32 at, u32 end, Result<void>& result) {
    for (u32 tries = 2 * (end - at); at < end && tries != 0; --tries) {
        u64 old = arch::read_entry(table, at);
        const u64 value = (old & ~rights.clear) | rights.set;
        if (!entry::is_present(old) || value == old) {
            ++at;
        } else if (entry::is_writable(value & ~old)) {
            const Given given = give_writing(rights.domain, table, at, old, value);
            if (given == Given::No) [[unlikely]] {
                result = replace_as_a_whole(rights.domain, table, at, old, value);
                if (!result && result.error() != Err::Again)
                    return at;
            }
            if (given == Given::Yes || (given == Given::No && result))
                ++at;
        } else if (arch::exchange_entry(table, at, old, value)) { // else accessed or dirty were set meanwhile
            ++at;
            if (entry::is_writable(old & ~value)) {
                if (FrameInfo* info = find_frame(entry::frame(old)))
                    drop_writing(*info, entry::frame(old));
            }
        }
    }
    result = {};
    return at;
}

// A new entry where there was none, as write_l1 judges it. False: it is for write_l1.
[[gnu::always_inline]] inline bool fill_empty(const Domain& domain, Mfn table, u32 index, u64 value) {
    u64 old = arch::read_entry(table, index);
    if (entry::is_present(old) || !entry::is_present(value) || (value & entry::cache_mask) != 0)
        return false;
    const Mfn mfn = entry::frame(value);
    FrameInfo* info = find_frame(mfn);
    if (!info || !goes(filling_empty) || take_mapped(*info, mfn, domain, entry::is_writable(value)) != Mapped::Yes)
        return false;
    if (arch::exchange_entry(table, index, old, value)) [[likely]]
        return true;
    drop_mapped(*info, mfn, entry::is_writable(value));
    return false;
}

u32 map_block(Domain& domain, u64 list, Mfn table, u32 at, u32 end, Result<void>& result) {
    std::array<u64, entries_per_look> values;
    result = copy_in_bytes(values.data(), list, (end - at) * sizeof(u64));
    for (u32 i = 0; result && at < end; ++i) {
        if (!fill_empty(domain, table, at, entry::stored(values[i]))) [[unlikely]]
            result = write_l1({table, at, values[i]}, own_frames(domain), domain);
        if (result)
            ++at;
    }
    return at;
}

} // namespace

Result<i64> map_entries(Call& call, GuestPtr<void>) {
    const u64 first = call.args[1];
    const u64 list = call.args[3];
    const auto result = in_blocks(call, [&](Mfn table, u32 at, u32 end, Result<void>& outcome) {
        const u64 done = u64{at} * sizeof(u64) - (first & page_mask);
        return map_block(call.domain, list + done, table, at, end, outcome);
    });
    if (!result && result.error() == Err::Restart)
        call.args[3] += call.args[1] - first; // entries and values are of one size
    return result;
}

Result<i64> protect_entries(Call& call, GuestPtr<void>) {
    // Both halves of a guest run in ring 3: a present entry keeps the user bit, as entry::stored() gives it.
    const Rights rights{call.domain, call.args[3] & ~entry::user, call.args[4]};
    if (((call.args[3] | rights.set) & ~changeable) != 0)
        return Err::Inval;
    return in_blocks(call, [&](Mfn table, u32 first, u32 end, Result<void>& result) {
        return protect_block(rights, table, first, end, result);
    });
}

} // namespace domus::hv
