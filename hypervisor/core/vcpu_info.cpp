// Moving vcpu_info into guest memory and back. ISOLATION, vcpu operations: aligned, within one page, once, and the page
// is held as writable so that it can never become a page table while we write to it.
#include "hypervisor/core/vcpu_info.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/log.hpp"

#include <cstring>

namespace domus::hv {
namespace {

bool may_move(const Vcpu& vcpu) {
    return &vcpu == &current() || (vcpu.sched.stops.load(std::memory_order_acquire) & bit_of(Stop::Down)) != 0;
}

} // namespace

Result<void> register_vcpu_info(Vcpu& vcpu, Mfn page, u32 offset) {
    if (offset > page_size - sizeof(vcpu_info_t) || offset % alignof(vcpu_info_t) != 0) {
        why(vcpu.domain, "vcpu_info must be aligned and within one page (offset {x})", offset);
        return Err::NxIo;
    }
    if (vcpu.info_frame != invalid_mfn || !may_move(vcpu)) {
        why(vcpu.domain, "vcpu_info of vcpu {} was registered before, or the vcpu is up", vcpu.id);
        return Err::Inval;
    }
    if (!get_frame_and_type(page, vcpu.domain, FrameType::Writable)) {
        why(vcpu.domain, "frame {x} for vcpu_info is not a writable page of this domain", page);
        return Err::Inval;
    }
    auto* moved = reinterpret_cast<vcpu_info_t*>(arch::frame_pointer(page) + offset);
    if (vcpu.info == &unregistered_vcpu_info)
        *moved = vcpu_info_t{};
    else
        std::memcpy(moved, vcpu.info, sizeof *moved);
    if (vcpu.info == &unregistered_vcpu_info)
        moved->evtchn_upcall_mask = 1;
    vcpu.info_frame = page;
    vcpu.info = moved;
    vcpu.time_stamp = ~u64{0};
    // Whatever was sent while we copied is looked for again: every selector bit, and an upcall.
    vcpu.domain.events.on_vcpu_info_moved(vcpu);
    return {};
}

void release_vcpu_info(Vcpu& vcpu) {
    vcpu.info = &unregistered_vcpu_info;
    if (vcpu.info_frame == invalid_mfn)
        return;
    const Mfn page = vcpu.info_frame;
    vcpu.info_frame = invalid_mfn;
    put_frame_and_type(page);
}

} // namespace domus::hv
