// mmuext_op: pins, roots, flushes and whole-page operations. Source: <xen/xen.h>, HYPERVISOR_mmuext_op.
// Locks: none; type references (core/frame_table.hpp).
#include "hypervisor/pv/mmu_hypercalls.hpp"

#include "hypervisor/core/operation_lists.hpp"
#include "hypervisor/pv/mmu_batch.hpp"
#include "hypervisor/pv/mmu_flush.hpp"
#include "hypervisor/pv/page_types.hpp"
#include "hypervisor/pv/root.hpp"

namespace domus::hv {
namespace {

struct ExtCall {
    Call& call;
    Domain& foreign; // owner of the frames that pins and page operations are about
    const mmuext_op_t& op;
    Mfn mfn() const { return Mfn(op.arg1.mfn); }
    Vaddr address() const { return Vaddr(op.arg1.linear_addr); }
    Domain& domain() const { return call.domain; }
};

template <FrameType Level>
Result<void> pin_as(ExtCall& ext) {
    return pin(ext.foreign, ext.mfn(), Level);
}
Result<void> unpin_table(ExtCall& ext) {
    return unpin(ext.call.vcpu, ext.foreign, ext.mfn());
}
Result<void> new_base(ExtCall& ext) {
    return set_kernel_root(ext.call.vcpu, ext.mfn());
}
Result<void> new_user_base(ExtCall& ext) {
    return set_user_root(ext.call.vcpu, ext.mfn());
}

Result<void> flush_local(ExtCall& ext) {
    flush_for_guest(ext.domain(), this_cpu_mask());
    return {};
}
Result<void> flush_multi(ExtCall& ext) {
    flush_for_guest(ext.domain(), TRY(cpus_of_vcpus(ext.domain(), guest_ptr(ext.op.arg2.vcpumask))));
    return {};
}
Result<void> flush_every(ExtCall& ext) {
    flush_for_guest(ext.domain(), ext.domain().dirty_cpus.load() | this_cpu_mask());
    return {};
}
Result<void> invlpg_local(ExtCall& ext) {
    flush_address_for_guest(ext.domain(), this_cpu_mask(), ext.address());
    return {};
}
Result<void> invlpg_multi(ExtCall& ext) {
    const auto cpus = TRY(cpus_of_vcpus(ext.domain(), guest_ptr(ext.op.arg2.vcpumask)));
    flush_address_for_guest(ext.domain(), cpus, ext.address());
    return {};
}
Result<void> invlpg_every(ExtCall& ext) {
    flush_address_for_guest(ext.domain(), ext.domain().dirty_cpus.load() | this_cpu_mask(), ext.address());
    return {};
}

// Only who can have uncached mappings has a reason to write caches back; it slows the whole machine.
Result<void> flush_cache(ExtCall& ext) {
    if (!ext.domain().privileged)
        return Err::Access;
    arch::write_back_caches();
    return {};
}

Result<void> set_ldt(ExtCall& ext) {
    return pv_set_ldt(ext.call.vcpu, ext.address().n, ext.op.arg2.nr_ents);
}

Result<void> clear_page(ExtCall& ext) {
    TRY(get_frame_and_type(ext.mfn(), ext.foreign, FrameType::Writable));
    arch::zero_frame(ext.mfn());
    put_frame_and_type(ext.mfn());
    return {};
}

Result<void> copy_page(ExtCall& ext) {
    const Mfn from(ext.op.arg2.src_mfn);
    TRY(get_frame(from, ext.foreign));
    auto target = get_frame_and_type(ext.mfn(), ext.foreign, FrameType::Writable);
    if (target) {
        arch::copy_frame(ext.mfn(), from);
        put_frame_and_type(ext.mfn());
    }
    put_frame(from);
    return target;
}

constexpr char no_superpages[] = "Xen's interface has no superpages for PV; Domus' own: docs/abi-extensions.md";

constexpr Operation<Result<void> (*)(ExtCall&)> ext_ops[] = {
    OFFERED(MMUEXT_PIN_L1_TABLE, pin_as<FrameType::L1>, Guest),
    OFFERED(MMUEXT_PIN_L2_TABLE, pin_as<FrameType::L2>, Guest),
    OFFERED(MMUEXT_PIN_L3_TABLE, pin_as<FrameType::L3>, Guest),
    OFFERED(MMUEXT_PIN_L4_TABLE, pin_as<FrameType::L4>, Guest),
    OFFERED(MMUEXT_UNPIN_TABLE, unpin_table, Guest),
    OFFERED(MMUEXT_NEW_BASEPTR, new_base, Guest),
    OFFERED(MMUEXT_TLB_FLUSH_LOCAL, flush_local, Guest),
    OFFERED(MMUEXT_INVLPG_LOCAL, invlpg_local, Guest),
    OFFERED(MMUEXT_TLB_FLUSH_MULTI, flush_multi, Guest),
    OFFERED(MMUEXT_INVLPG_MULTI, invlpg_multi, Guest),
    OFFERED(MMUEXT_TLB_FLUSH_ALL, flush_every, Guest),
    OFFERED(MMUEXT_INVLPG_ALL, invlpg_every, Guest),
    OFFERED(MMUEXT_FLUSH_CACHE, flush_cache, Guest),
    OFFERED(MMUEXT_SET_LDT, set_ldt, Guest),
    OFFERED(MMUEXT_NEW_USER_BASEPTR, new_user_base, Guest),
    OFFERED(MMUEXT_CLEAR_PAGE, clear_page, Guest),
    OFFERED(MMUEXT_COPY_PAGE, copy_page, Guest),
    OFFERED(MMUEXT_FLUSH_CACHE_GLOBAL, flush_cache, Guest),
    REFUSED(MMUEXT_MARK_SUPER, OpNotSupp, Guest, no_superpages),
    REFUSED(MMUEXT_UNMARK_SUPER, OpNotSupp, Guest, no_superpages),
};

Result<void> apply(ExtCall ext) {
    const auto* row = find_operation(ext_ops, ext.op.cmd);
    if (!row) [[unlikely]]
        return Err::NoSys;
    if (!row->offered()) [[unlikely]]
        return row->answer;
    return row->run(ext);
}

Result<void> run(Call& call, Domain& foreign, GuestPtr<mmuext_op_t> list, Batch& batch) {
    while (batch.more()) {
        if (batch.done % 8 == 7 && must_yield())
            return Err::Restart;
        const mmuext_op_t op = TRY(copy_in(list, batch.done));
        TRY(apply(ExtCall{call, foreign, op}));
        ++batch.done;
        if (call.vcpu.pv.unfinished_table != invalid_mfn)
            return Err::Restart;
    }
    return {};
}

} // namespace

Result<i64> mmuext_op(Call& call, GuestPtr<mmuext_op_t> list, u32 raw_count, GuestPtr<u32> done_out, u32 foreign) {
    TRY(finish_table(call.vcpu));
    Batch batch = TRY(Batch::start(raw_count, done_out));
    const DomainRef target = TRY(find_target(call.domain, static_cast<u16>(foreign)));
    return batch.leave(call, list, run(call, *target, list, batch));
}

const OperationList mmu_operations(ext_ops);

} // namespace domus::hv
