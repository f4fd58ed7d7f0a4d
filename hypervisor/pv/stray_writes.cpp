// Stray writes: a guest kernel stores to a page table in force as if it were plain memory (Linux' ptep_set_wrprotect
// and friends have no paravirtual hook). The table is mapped read-only, so the store faults; it is decoded, and applied
// through the same checked path as mmu_update. A refused value becomes the guest's own page fault.
//
// One store at a time; when several go to one table in a row, unhooked.hpp lets the guest write it directly.
// Called by the trap path; no lock held.
#include "hypervisor/pv/stray_writes.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/guest_memory.hpp"
#include "hypervisor/pv/mmu_entry.hpp"
#include "hypervisor/pv/mmu_walk.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/stray_decode.hpp"
#include "hypervisor/pv/unhooked.hpp"

namespace domus::hv {
namespace {

// Page-fault error code (the processor manuals).
constexpr u32 fault_present = 1, fault_write = 2, fault_fetch = 16;
constexpr u32 fault_known = fault_present | fault_write | 4 | fault_fetch;

// The tables allow by now what faulted: another vcpu, or a hypercall without a flush, widened the right. The fault has
// made the CPU forget the old translation, so running on succeeds.
bool is_allowed_now(const Walk& found, u32 error_code) {
    if (!entry::is_present(found.value))
        return false;
    if ((error_code & fault_write) != 0 && !(found.upper_writable && entry::is_writable(found.value)))
        return false;
    return (error_code & fault_fetch) == 0 || !(found.upper_no_execute || (found.value & entry::no_execute) != 0);
}

std::optional<Store> store_at(u64 rip) {
    u8 bytes[15];
    usize size = sizeof bytes;
    if (!copy_in_bytes(bytes, rip, size)) { // the instruction may end just before an unmapped page
        size = page_size - (rip & page_mask);
        if (size >= sizeof bytes || !copy_in_bytes(bytes, rip, size))
            return std::nullopt;
    }
    return decode_store({bytes, size});
}

Result<void> write_table(Vcpu& vcpu, FrameType level, const EntryWrite& write) {
    if (level == FrameType::L1)
        return write_l1(write, own_frames(vcpu.domain), vcpu.domain);
    return write_upper(vcpu, write, level, vcpu.domain);
}

// Apply one store to an entry of a held table. Err::Restart and Err::Again: run the instruction again.
Result<void> apply_store(Vcpu& vcpu, GuestRegs& regs, const Store& store, FrameType level, Mfn table, u32 offset) {
    const u32 index = offset / sizeof(u64);
    const u32 shift = offset % sizeof(u64) * 8;
    const u64 whole = arch::read_entry(table, index);
    const u64 mask = store.size == 8 ? ~u64{0} : ((u64{1} << (8 * store.size)) - 1) << shift;
    const StoreEffect effect = evaluate_store(store, regs, (whole & mask) >> shift);
    if (effect.writes) {
        const u64 value = (whole & ~mask) | ((effect.value << shift) & mask);
        TRY(write_table(vcpu, level, {table, index, value, AccessBits::Replace, &whole}));
    }
    commit_store(store, regs, (whole & mask) >> shift, effect);
    count(vcpu.domain, Count::PteEmulated);
    return {};
}

enum class Source : u8 { Ready, Again, Refused };

// A string store's element is at rdi, which must be where the fault was; movs reads one at rsi. What cannot be read in
// this moment is for the processor to report, so the instruction runs again.
Source prepare_string(Store& store, const GuestRegs& regs, u64 address) {
    if (regs.rdi != address)
        return Source::Refused;
    if (store.kind == StoreKind::Fill)
        return Source::Ready;
    if (!arch::is_guest_range(Vaddr(regs.rsi), store.size))
        return Source::Refused;
    return copy_in_bytes(&store.immediate, regs.rsi, store.size) ? Source::Ready : Source::Again;
}

bool emulate_store(Vcpu& vcpu, GuestRegs& regs, u64 address, Mfn table) {
    auto store = store_at(regs.rip);
    const u32 offset = static_cast<u32>(address & page_mask);
    if (!store || offset % sizeof(u64) + store->size > sizeof(u64))
        return false;
    if (store->is_string()) [[unlikely]] {
        const Source source = prepare_string(*store, regs, address);
        if (source != Source::Ready)
            return source == Source::Again;
    }
    if (!get_frame(table, vcpu.domain))
        return false;
    const auto level = get_present_type(table);
    if (!level) {
        put_frame(table);
        return true; // not in force any more: the guest may map it writable; look again
    }
    Result<void> done = is_table(level.value()) ? apply_store(vcpu, regs, *store, level.value(), table, offset)
                                                : Result<void>(Err::Inval);
    put_table(vcpu, table);
    return done.ok() || done.error() == Err::Again || done.error() == Err::Restart;
}

} // namespace

bool fix_page_fault(Vcpu& vcpu, GuestRegs& regs, u64 address, u32 error_code) {
    if (bring_back_for(vcpu, Vaddr(address)))
        return true;
    // Users' faults are their kernel's affair, and an absent page is nothing the hypervisor hides.
    if (!vcpu.pv.in_kernel || (error_code & fault_present) == 0 || (error_code & ~fault_known) != 0)
        return false;
    static_cast<void>(finish_table(vcpu)); // if it is not done, the slot stays taken: put_table copes
    const auto found = walk(vcpu.pv.kernel_root, Vaddr(address));
    if (!found)
        return false;
    if (is_allowed_now(*found, error_code))
        return true;
    if ((error_code & fault_write) == 0 || !entry::is_present(found->value) || entry::is_writable(found->value))
        return false;
    const Mfn target = entry::frame(found->value);
    const FrameInfo* info = find_frame(target);
    if (!info)
        return false;
    const TypeWord word{info->type.load(std::memory_order_acquire)};
    if (word.count() == 0 || !is_table(word.type()))
        return false;
    bring_back_if_any(vcpu.domain);
    if (word.type() == FrameType::L1 && unhook(vcpu, *found, target))
        return true;
    return emulate_store(vcpu, regs, address, target);
}

} // namespace domus::hv
