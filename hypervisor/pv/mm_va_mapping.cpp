// update_va_mapping: one L1 entry named by the address it maps, and vm_assist. Source: <xen/xen.h>.
// Locks: none; a type reference of the L1 table while it is written.
#include "hypervisor/pv/mmu_batch.hpp"
#include "hypervisor/pv/mmu_flush.hpp"
#include "hypervisor/pv/mmu_hypercalls.hpp"
#include "hypervisor/pv/mmu_walk.hpp"

namespace domus::hv {
namespace {

// Flags: bits 0 and 1 what to flush, bit 2 all vcpus; else the rest is the address of a bitmap of vcpus, 0: this one.
Result<void> flush_after(Domain& domain, Vaddr address, u64 flags) {
    const u64 kind = flags & UVMF_FLUSHTYPE_MASK;
    if (kind == UVMF_NONE)
        return {};
    const u64 who = flags & ~u64{UVMF_FLUSHTYPE_MASK};
    arch::CpuMask cpus = this_cpu_mask();
    if (who == UVMF_ALL)
        cpus |= domain.dirty_cpus.load();
    else if (who != UVMF_LOCAL)
        cpus = TRY(cpus_of_vcpus(domain, GuestPtr<const void>{who}));
    if (kind == UVMF_TLB_FLUSH)
        flush_for_guest(domain, cpus);
    else if (kind == UVMF_INVLPG)
        flush_address_for_guest(domain, cpus, address);
    else
        return Err::NoSys;
    return {};
}

Result<void> update(Call& call, Vaddr address, u64 value, u64 flags, const DataOwner& from) {
    TRY(finish_table(call.vcpu));
    const auto found = walk(call.vcpu.pv.kernel_root, address);
    if (!found || !open_l1(found->l1, call.domain)) {
        why(call.domain, "update_va_mapping of {x}: no L1 table there", address);
        return Err::Inval;
    }
    count(call.domain, Count::PteUpdates);
    const auto written = write_l1({found->l1.table, found->l1.index, value}, from, call.domain);
    close_l1(found->l1);
    TRY(written);
    return flush_after(call.domain, address, flags);
}

} // namespace

Result<void> update_va_mapping(Call& call, Vaddr address, u64 value, u64 flags) {
    return update(call, address, value, flags, own_frames(call.domain));
}

Result<void> update_va_mapping_otherdomain(Call& call, Vaddr address, u64 value, u64 flags, u16 domid) {
    const Parties parties = TRY(parties_of(call.domain, domid));
    return update(call, address, value, flags, parties.data_owner());
}

Result<void> vm_assist(Call& call, u32 command, u32 type) {
    // Held as settings where there is nothing to do: 64-bit guests have no segment limits to be simulated, roots above
    // 4 GiB are normal, and page tables are written through hypercalls or fix_page_fault either way.
    constexpr u32 known = 1 << VMASST_TYPE_4gb_segments | 1 << VMASST_TYPE_4gb_segments_notify |
                          1 << VMASST_TYPE_writable_pagetables | 1 << VMASST_TYPE_pae_extended_cr3 |
                          1 << VMASST_TYPE_architectural_iopl | 1 << VMASST_TYPE_runstate_update_flag;
    if (type >= 32 || (known >> type & 1) == 0)
        return Err::Inval;
    if (command == VMASST_CMD_enable)
        call.domain.vm_assist |= 1u << type;
    else if (command == VMASST_CMD_disable)
        call.domain.vm_assist &= ~(1u << type);
    else
        return Err::NoSys;
    return {};
}

} // namespace domus::hv
