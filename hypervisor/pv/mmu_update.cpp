// mmu_update: lists of checked writes to page-table entries. The hottest page-table path: the table's page is looked up
// once for a run of entries in the same table. Source: <xen/xen.h>, HYPERVISOR_mmu_update.
// Locks: none; type references and compare-and-swap (mmu_entry.hpp).
#include "hypervisor/pv/mmu_hypercalls.hpp"

#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/pv/mmu_batch.hpp"
#include "hypervisor/pv/page_entry.hpp"

namespace domus::hv {
namespace {

// The table that entries are being written to, kept as what it is for as long as this object holds it.
class OpenTable {
public:
    explicit OpenTable(Vcpu& vcpu) : vcpu_(vcpu) {}
    ~OpenTable() { close(); }
    OpenTable(const OpenTable&) = delete;

    Result<void> open(Mfn mfn, const Domain& owner) {
        if (mfn == mfn_) [[likely]]
            return {};
        close();
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

private:
    Vcpu& vcpu_;
    Mfn mfn_ = invalid_mfn;
    FrameType type_ = FrameType::None;
};

Result<void> write_entry(Call& call, const Parties& parties, OpenTable& table, const mmu_update_t& request) {
    const u32 command = request.ptr & 3;
    const u64 address = request.ptr & ~u64{3};
    if (address % sizeof(u64) != 0)
        return Err::Inval;
    const EntryWrite write{frame_of(Maddr(address)), static_cast<u32>((address & page_mask) / sizeof(u64)), request.val,
                           command == MMU_PT_UPDATE_PRESERVE_AD ? AccessBits::Keep : AccessBits::Replace};
    TRY(table.open(write.table, *parties.tables));
    if (table.type() == FrameType::L1)
        return write_l1(write, parties.data_owner(), call.domain);
    if (is_table(table.type()))
        return write_upper(call.vcpu, write, table.type(), *parties.tables);
    if (table.type() != FrameType::Writable)
        return Err::Inval;
    arch::write_entry(write.table, write.index, write.value);
    return {};
}

// ISOLATION, memory operations: only frames of the named domain get a new place in the machine-to-phys table.
Result<void> write_machphys(const Parties& parties, const mmu_update_t& request) {
    const Mfn mfn = frame_of(Maddr(request.ptr));
    if (!parties.data || !get_frame(mfn, *parties.data))
        return Err::Inval;
    arch::write_m2p(mfn, request.val);
    put_frame(mfn);
    return {};
}

Result<void> apply(Call& call, const Parties& parties, OpenTable& table, const mmu_update_t& request) {
    if ((request.ptr & 3) == MMU_MACHPHYS_UPDATE)
        return write_machphys(parties, request);
    return write_entry(call, parties, table, request);
}

// Requests are copied in groups; a group that reaches beyond readable memory is read one by one, so that the count of
// completed ones is exact.
struct Window {
    std::array<mmu_update_t, 32> requests;
    u32 first = 0, size = 0;

    Result<void> load(GuestPtr<mmu_update_t> list, u32 index, u32 left) {
        if (index - first < size && index >= first)
            return {};
        first = index;
        size = left < requests.size() ? left : static_cast<u32>(requests.size());
        if (copy_in_bytes(requests.data(), list.at(index).address, size * sizeof(mmu_update_t)))
            return {};
        size = 0;
        TRY(copy_in_bytes(requests.data(), list.at(index).address, sizeof(mmu_update_t)));
        size = 1;
        return {};
    }
    const mmu_update_t& at(u32 index) const { return requests[index - first]; }
};

Result<void> run(Call& call, const Parties& parties, GuestPtr<mmu_update_t> list, Batch& batch) {
    OpenTable table(call.vcpu);
    Window window;
    while (batch.more()) {
        if (batch.done % 32 == 31 && must_yield())
            return Err::Restart;
        TRY(window.load(list, batch.done, batch.count - batch.done));
        TRY(apply(call, parties, table, window.at(batch.done)));
        ++batch.done;
        if (call.vcpu.pv.unfinished_table != invalid_mfn)
            return Err::Restart;
    }
    return {};
}

} // namespace

Result<i64> mmu_update(Call& call, GuestPtr<mmu_update_t> list, u32 raw_count, GuestPtr<u32> done_out, u32 foreign) {
    TRY(finish_table(call.vcpu));
    Batch batch = TRY(Batch::start(raw_count, done_out));
    const Parties parties = TRY(parties_of(call.domain, foreign));
    const auto result = run(call, parties, list, batch);
    count(call.domain, Count::PteUpdates, batch.done);
    return batch.leave(call, list, result);
}

} // namespace domus::hv
