// Control operations on a domain as a whole. Lock: Rank::Control held. Called by core/domctl.cpp's table.
#include "hypervisor/core/domain_info.hpp"
#include "hypervisor/core/domctl.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/time.hpp"

#include <algorithm>
#include <cstring>

namespace domus::hv::control {
namespace {

constexpr u32 accepted_flags = XEN_DOMCTL_CDF_s3_integrity | XEN_DOMCTL_CDF_oos_off | XEN_DOMCTL_CDF_xs_domain;

// PV only: say which wish cannot be met.
Result<void> judge(const Control& control) {
    const auto& wish = control.op.u.createdomain;
    const Domain& caller = control.call.domain;
    if (wish.flags & (XEN_DOMCTL_CDF_hvm | XEN_DOMCTL_CDF_hap | XEN_DOMCTL_CDF_nested_virt)) {
        why(caller, "only paravirtual domains can be created: use type=\"pv\" (flags {x})", wish.flags);
        return Err::Inval;
    }
    if ((wish.flags & ~accepted_flags) || wish.iommu_opts != 0 || wish.vmtrace_size != 0) {
        why(caller, "no I/O MMU, performance counters or processor trace for domains (flags {x})", wish.flags);
        return Err::Inval;
    }
    if (wish.arch.emulation_flags != 0 || (wish.arch.misc_flags & ~XEN_X86_MISC_FLAGS_MAX)) {
        why(caller, "nothing is emulated for a paravirtual domain (emulation flags {x})", wish.arch.emulation_flags);
        return Err::Inval;
    }
    if ((wish.grant_opts & ~XEN_DOMCTL_GRANT_version_mask) || wish.cpupool_id != 0)
        return Err::Inval;
    return {};
}

u32 limit(i32 wish, u32 usual) {
    return wish < 0 ? usual : static_cast<u32>(wish);
}

} // namespace

Result<void> create_domain(Control& control) {
    TRY(judge(control));
    const auto& wish = control.op.u.createdomain;
    DomainParameters parameters;
    const u16 id = control.op.domain;
    parameters.id = id == 0 || id >= DOMID_FIRST_RESERVED ? u16{DOMID_INVALID} : id;
    parameters.max_vcpus = wish.max_vcpus;
    parameters.max_event_port = wish.max_evtchn_port;
    parameters.max_grant_frames = limit(wish.max_grant_frames, 64);
    parameters.max_maptrack_frames = limit(wish.max_maptrack_frames, 1024);
    parameters.max_grant_version = XEN_DOMCTL_GRANT_version(wish.grant_opts);
    std::memcpy(parameters.handle, wish.handle, sizeof parameters.handle);
    const DomainRef made = TRY(hv::create_domain(parameters));
    control.op.domain = made->id.n;
    control.answer = true;
    return {};
}

Result<void> destroy_domain(Control& control) {
    return hv::destroy_domain(control.call, *control.target);
}

Result<void> pause_domain(Control& control) {
    if (control.names_caller())
        return Err::Inval;
    if (control.target->controller_pauses == ~u32{0})
        return Err::Overflow;
    ++control.target->controller_pauses;
    hv::pause_domain(*control.target);
    wait_until_stopped(*control.target);
    return {};
}

Result<void> unpause_domain(Control& control) {
    return unpause_by_controller(*control.target);
}

Result<void> resume_domain(Control& control) {
    if (control.names_caller())
        return Err::Inval;
    hv::resume_domain(*control.target);
    return {};
}

Result<void> get_domain_info(Control& control) {
    fill_domain_info(*control.target, control.op.u.getdomaininfo);
    control.op.domain = control.op.u.getdomaininfo.domain;
    control.answer = true;
    return {};
}

// May be less than the domain has: it then gets no more until it gave some back.
Result<void> max_memory(Control& control) {
    const u64 pages = control.op.u.max_mem.max_memkb >> (page_shift - 10);
    control.target->frames.with([&](OwnedFrames& frames) { frames.maximum = pages; });
    return {};
}

Result<void> set_handle(Control& control) {
    std::memcpy(control.target->handle, control.op.u.setdomainhandle.handle, sizeof control.target->handle);
    return {};
}

Result<void> set_debugging(Control& control) {
    if (control.names_caller())
        return Err::Inval;
    control.target->debugger_attached = control.op.u.setdebugging.enable != 0;
    return {};
}

Result<void> set_time_offset(Control& control) {
    control.target->time_offset_seconds = control.op.u.settimeoffset.time_offset_seconds;
    update_wall_clock(*control.target);
    return {};
}

Result<void> set_virq_handler(Control& control) {
    return set_global_virq_handler(*control.target, control.op.u.set_virq_handler.virq);
}

// One node: any wish that contains it is met.
Result<void> node_affinity(Control& control) {
    const auto& map = control.op.u.nodeaffinity.nodemap;
    if (map.nr_bits == 0)
        return Err::Inval;
    const u8 first = TRY(copy_in(guest_ptr(map.bitmap)));
    if ((first & 1) == 0)
        return Err::Inval;
    return {};
}

Result<void> get_node_affinity(Control& control) {
    const auto& map = control.op.u.nodeaffinity.nodemap;
    const u32 bytes = std::min<u32>(map.nr_bits / 8 + (map.nr_bits % 8 != 0), 512);
    for (u32 i = 0; i < bytes; ++i)
        TRY(copy_out(guest_ptr(map.bitmap), i == 0 ? u8{1} : u8{0}, i));
    return {};
}

} // namespace domus::hv::control
