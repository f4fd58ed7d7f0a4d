// Control operations that know the machine: hypercall page, address size, TSC, frame types, permissions, CPU policy.
// Lock: Rank::Control held.
#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domctl.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/guest_context.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/pirq.hpp"

namespace domus::hv::control {
namespace {

constexpr u32 native_tsc = 2; // TSC_MODE_NEVER_EMULATE
constexpr u64 most_frames = 1024;
constexpr u64 io_ports = 65536;
constexpr u64 end_of_memory = u64{1} << (52 - page_shift); // frames a 52-bit machine address can name

// XEN_DOMCTL_PFINFO_* of a frame of this domain.
u32 frame_kind(const Domain& domain, u64 raw) {
    const Mfn mfn(raw);
    if (!get_frame(mfn, domain))
        return XEN_DOMCTL_PFINFO_XTAB;
    const FrameInfo& info = frame_info(mfn);
    const TypeWord word{info.type.load(std::memory_order_acquire)};
    const bool shared = (info.refs.load(std::memory_order_relaxed) & shared_flag) != 0;
    u32 kind = XEN_DOMCTL_PFINFO_NOTAB;
    if (shared)
        kind = XEN_DOMCTL_PFINFO_XTAB;
    else if (is_table(word.type()) && word.count() != 0)
        kind = static_cast<u32>(word.type()) << XEN_DOMCTL_PFINFO_LTAB_SHIFT;
    if (kind != XEN_DOMCTL_PFINFO_XTAB && word.has(TypeWord::Pinned))
        kind |= XEN_DOMCTL_PFINFO_LPINTAB;
    put_frame(mfn);
    return kind;
}

Result<void> judge_permission(const Control& control, std::string_view what, bool allow) {
    if (allow == control.target->privileged)
        return {};
    why(control.call.domain, "d{} cannot be {} {}: devices are dom0's alone, and all of them", control.target->id,
        allow ? "given" : "denied", what);
    return Err::OpNotSupp;
}

} // namespace

// The frame is the domain's and writable, so it is no page table. Err::Access otherwise.
Result<void> hypercall_page(Control& control) {
    const Mfn frame(control.op.u.hypercall_init.gmfn);
    if (!get_frame_and_type(frame, *control.target, FrameType::Writable)) {
        why(control.call.domain, "frame {x} is not a writable page of d{}", frame, control.target->id);
        return Err::Access;
    }
    arch::zero_frame(frame);
    fill_hypercall_page(arch::frame_pointer(frame));
    put_frame_and_type(frame);
    return {};
}

Result<void> set_address_size(Control& control) {
    if (control.op.u.address_size.size == 64)
        return {};
    why(control.call.domain, "only 64-bit guests are run, not {}-bit ones", control.op.u.address_size.size);
    return Err::Inval;
}

Result<void> get_address_size(Control& control) {
    control.op.u.address_size.size = 64;
    control.answer = true;
    return {};
}

// rdtsc runs natively. "Default" leaves it to us; who asks for emulation is told that there is none.
Result<void> set_tsc_info(Control& control) {
    const auto& info = control.op.u.tsc_info;
    if (control.names_caller())
        return Err::Inval;
    if (info.tsc_mode != 0 && info.tsc_mode != native_tsc) {
        why(control.call.domain, "rdtsc always runs natively: use tsc_mode=\"native\" (mode {} asked for)",
            info.tsc_mode);
        return Err::OpNotSupp;
    }
    control.target->tsc_mode = info.tsc_mode;
    return {};
}

Result<void> get_tsc_info(Control& control) {
    if (control.names_caller())
        return Err::Inval;
    control.op.u.tsc_info = {.tsc_mode = control.target->tsc_mode, .gtsc_khz = arch::tsc_khz()};
    control.answer = true;
    return {};
}

// Replaces each frame number by what the frame is.
Result<void> frame_types(Control& control) {
    auto& request = control.op.u.getpageframeinfo3;
    if (request.num > most_frames) {
        request.num = most_frames; // so many at a time
        control.answer = true;
        return Err::TooBig;
    }
    const auto array = guest_ptr(request.array);
    for (u64 i = 0; i < request.num; ++i) {
        const xen_pfn_t frame = TRY(copy_in(array, i));
        TRY(copy_out(array, frame_kind(*control.target, frame), i));
    }
    return {};
}

// Permissions to reach devices. All of them are dom0's and none anybody else's, and that is all that is enforced (L1
// entries, ports, physical interrupts), so only what is true already is granted. Err::Inval: no such range.
Result<void> memory_permission(Control& control) {
    const auto& range = control.op.u.iomem_permission;
    if (range.nr_mfns == 0 || !fits(range.first_mfn, range.nr_mfns, end_of_memory))
        return Err::Inval;
    return judge_permission(control, "device memory", range.allow_access != 0);
}

Result<void> port_permission(Control& control) {
    const auto& range = control.op.u.ioport_permission;
    if (!fits(range.first_port, range.nr_ports, io_ports))
        return Err::Inval;
    return judge_permission(control, "I/O ports", range.allow_access != 0);
}

Result<void> irq_permission(Control& control) {
    const auto& request = control.op.u.irq_permission;
    if (request.pirq >= max_pirqs)
        return Err::Inval;
    return judge_permission(control, "physical interrupts", request.allow_access != 0);
}

// CPUID and MSRs are the machine's for every domain, filtered in one way: the policy of a domain has no entries of its
// own, and entries that tools want to set change nothing.
Result<void> get_cpu_policy(Control& control) {
    auto& policy = control.op.u.cpu_policy;
    policy.nr_leaves = 0;
    policy.nr_msrs = 0;
    control.answer = true;
    return {};
}

Result<void> set_cpu_policy(Control& control) {
    if (control.names_caller())
        return Err::Inval;
    if (control.target->life.load() != Life::Building)
        return Err::Exist;
    return {};
}

// x86 caches are coherent.
Result<void> cache_flush(Control&) {
    return {};
}

} // namespace domus::hv::control
