// mmu_update: lists of checked writes to page-table entries. The hottest page-table path: the table's page is looked up
// once for a run of entries in the same table. Source: <xen/xen.h>, HYPERVISOR_mmu_update.
// Locks: none; type references and compare-and-swap (mmu_entry.hpp).
#include "hypervisor/pv/mmu_hypercalls.hpp"

#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/pv/mmu_batch.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/table_ways.hpp"
#include "hypervisor/pv/unhooked.hpp"

#include <span>

namespace domus::hv {
namespace {

// The table that entries are being written to, kept as what it is for as long as this object holds it.
class OpenTable {
public:
    explicit OpenTable(Vcpu& vcpu) : vcpu_(vcpu) {}
    ~OpenTable() { close(); }
    OpenTable(const OpenTable&) = delete;

    Result<void> open(Mfn mfn, Domain& owner) {
        if (mfn == mfn_) [[likely]]
            return {};
        close();
        make_way(owner, mfn);
        if (!get_frame(mfn, owner)) {
            why(vcpu_.domain, "mmu_update to frame {x}, which is not d{}'s", mfn, owner.id);
            return Err::Inval;
        }
        auto type = get_present_type(mfn);
        if (!type) { // not in force as anything: a plain page, written to as one
            if (auto got = get_type(mfn, FrameType::Writable); !got) {
                put_frame(mfn);
                return got.error();
            }
        }
        mfn_ = mfn;
        type_ = type ? type.value() : FrameType::Writable;
        return {};
    }
    void close() {
        if (mfn_ != invalid_mfn)
            put_table(vcpu_, mfn_);
        mfn_ = invalid_mfn;
    }
    FrameType type() const { return type_; }

    // What a guest writes to a table before it is in force (the child's, in a fork): as many of the requests as are
    // about this page, if it is plain memory.
    u32 write_plain(std::span<const mmu_update_t> requests) const {
        constexpr u64 not_plain = sizeof(u64) - 1 - MMU_PT_UPDATE_PRESERVE_AD;
        u32 done = 0;
        if (type_ != FrameType::Writable || mfn_ == invalid_mfn || !goes(plain_runs))
            return done;
        for (const mmu_update_t& request : requests) {
            if ((request.ptr & not_plain) != 0 || frame_of(Maddr(request.ptr)) != mfn_)
                break;
            arch::write_entry(mfn_, static_cast<u32>((request.ptr & page_mask) / sizeof(u64)), request.val);
            ++done;
        }
        return done;
    }

private:
    Vcpu& vcpu_;
    Mfn mfn_ = invalid_mfn;
    FrameType type_ = FrameType::None;
};

// `tables` owns the table, `from` what it may map.
Result<void> write_entry(Call& call, Domain& tables, const DataOwner& from, OpenTable& table,
                         const mmu_update_t& request) {
    const u64 address = request.ptr & ~u64{3};
    if (address % sizeof(u64) != 0)
        return Err::Inval;
    const EntryWrite write{frame_of(Maddr(address)), static_cast<u32>((address & page_mask) / sizeof(u64)), request.val,
                           (request.ptr & 3) == MMU_PT_UPDATE_PRESERVE_AD ? AccessBits::Keep : AccessBits::Replace};
    TRY(table.open(write.table, tables));
    if (table.type() == FrameType::L1) [[likely]]
        return write_l1(write, from, call.domain);
    if (table.type() == FrameType::Writable) {
        arch::write_entry(write.table, write.index, write.value);
        return {};
    }
    if (!is_table(table.type()))
        return Err::Inval;
    return write_upper(call.vcpu, write, table.type(), tables);
}

// ISOLATION, memory operations: only frames of the named domain get a new place in the machine-to-phys table.
Result<void> write_machphys(const Domain* owner, const mmu_update_t& request) {
    const Mfn mfn = frame_of(Maddr(request.ptr));
    if (!owner || !get_frame(mfn, *owner))
        return Err::Inval;
    arch::write_m2p(mfn, request.val);
    put_frame(mfn);
    return {};
}

Result<void> apply(Call& call, const Parties& parties, OpenTable& table, const mmu_update_t& request) {
    if ((request.ptr & 3) == MMU_MACHPHYS_UPDATE)
        return write_machphys(parties.data ? &*parties.data : nullptr, request);
    return write_entry(call, *parties.tables, parties.data_owner(), table, request);
}

Result<void> run(Call& call, const Parties& parties, GuestPtr<mmu_update_t> list, Batch& batch) {
    OpenTable table(call.vcpu);
    GuestGroup<mmu_update_t, 32> group;
    while (batch.more()) {
        if (batch.done != 0 && must_yield())
            return Err::Restart;
        const u32 size = TRY(group.load(list, batch.done, batch.count - batch.done));
        const std::span<const mmu_update_t> requests(group.items.data(), size);
        for (u32 i = 0; i < size;) {
            if (const u32 plain = table.write_plain(requests.subspan(i)); plain != 0) {
                i += plain;
                batch.done += plain;
                continue;
            }
            TRY(apply(call, parties, table, requests[i]));
            ++i;
            ++batch.done;
            if (call.vcpu.pv.unfinished_table != invalid_mfn)
                return Err::Restart;
        }
    }
    return {};
}

// What a kernel does at each page fault of its users: no domain to be looked up, no list.
[[gnu::noinline]] Result<i64> update_one_of_own(Call& call, GuestPtr<mmu_update_t> list) {
    const mmu_update_t request = TRY(copy_in(list));
    if ((request.ptr & 3) == MMU_MACHPHYS_UPDATE) {
        TRY(write_machphys(&call.domain, request));
    } else {
        OpenTable table(call.vcpu);
        TRY(write_entry(call, call.domain, own_frames(call.domain), table, request));
    }
    count(call.domain, Count::PteUpdates);
    if (call.vcpu.pv.unfinished_table != invalid_mfn)
        return call.resume_later(list.at(1).address, resumed_bit); // a list of none: only what was left is finished
    return i64{0};
}

[[gnu::noinline]] Result<i64> update_list(Call& call, GuestPtr<mmu_update_t> list, u32 raw_count,
                                          GuestPtr<u32> done_out, u32 foreign) {
    Batch batch = TRY(Batch::start(raw_count, done_out));
    const Parties parties = TRY(parties_of(call.domain, foreign));
    const auto result = run(call, parties, list, batch);
    count(call.domain, Count::PteUpdates, batch.done);
    return batch.leave(call, list, result);
}

} // namespace

Result<i64> mmu_update(Call& call, GuestPtr<mmu_update_t> list, u32 raw_count, GuestPtr<u32> done_out, u32 foreign) {
    TRY(finish_table(call.vcpu));
    if (raw_count == 1 && foreign == DOMID_SELF && done_out.is_null() && goes(single_updates))
        return update_one_of_own(call, list);
    return update_list(call, list, raw_count, done_out, foreign);
}

} // namespace domus::hv
