// The page-table roots of a vcpu. See root.hpp.
#include "hypervisor/pv/root.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/mmu_entry.hpp"

namespace domus::hv {
namespace {

Result<void> drop_root(Vcpu& vcpu, u64& root) {
    if (root == 0)
        return {};
    put_table(vcpu, frame_of(Maddr(root)));
    root = 0;
    return finish_table(vcpu);
}

// Take references of the new root, before anything changes.
Result<void> take_root(Vcpu& vcpu, Mfn mfn) {
    auto got = get_frame_and_type(mfn, vcpu.domain, FrameType::L4);
    if (got || got.error() == Err::Restart)
        return got;
    why(vcpu.domain, "frame {x} cannot be a page-table root", mfn);
    return Err::Inval;
}

bool is_loaded(const Vcpu& vcpu, bool kernel) {
    return &current() == &vcpu && vcpu.pv.in_kernel == kernel;
}

void put_old(Vcpu& vcpu, u64 old) {
    if (old != 0)
        put_table(vcpu, frame_of(Maddr(old)));
}

} // namespace

Result<void> set_kernel_root(Vcpu& vcpu, Mfn mfn) {
    TRY(finish_table(vcpu));
    const u64 old = vcpu.pv.kernel_root;
    // A vcpu that has no root yet shows 0, and frame 0 is nobody's: that is never "the same as before".
    const bool changes = old == 0 || old != base_of(mfn).n;
    if (changes) {
        TRY(take_root(vcpu, mfn));
        vcpu.pv.kernel_root = base_of(mfn).n;
    }
    count(vcpu.domain, Count::RootLoads);
    if (is_loaded(vcpu, true))
        arch::load_root(mfn);
    if (changes)
        put_old(vcpu, old);
    return {};
}

Result<void> set_user_root(Vcpu& vcpu, Mfn mfn) {
    TRY(finish_table(vcpu));
    const u64 old = vcpu.pv.user_root;
    if (old == base_of(mfn).n)
        return {};
    if (mfn.n != 0)
        TRY(take_root(vcpu, mfn));
    vcpu.pv.user_root = base_of(mfn).n;
    put_old(vcpu, old);
    return {};
}

Result<void> drop_roots(Vcpu& vcpu) {
    TRY(finish_table(vcpu));
    TRY(drop_root(vcpu, vcpu.pv.kernel_root));
    return drop_root(vcpu, vcpu.pv.user_root);
}

} // namespace domus::hv
