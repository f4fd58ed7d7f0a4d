// Control operations on vcpus: making them, their contexts, affinity. Lock: Rank::Control held.
#include "hypervisor/core/domctl.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/guest_context.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/time.hpp"

#include <algorithm>
#include <cstring>

namespace domus::hv::control {
namespace {

constexpr u32 affinity_flags = XEN_VCPUAFFINITY_HARD | XEN_VCPUAFFINITY_SOFT | XEN_VCPUAFFINITY_FORCE;
constexpr u32 longest_map = 8192; // bits that are written; a longer map is a mistake

// A context lives on the heap: it is larger than a page.
class Context {
public:
    Context() : context_(make<vcpu_guest_context_t>()) {}
    ~Context() { destroy(context_); }
    Context(const Context&) = delete;
    explicit operator bool() const { return context_ != nullptr; }
    vcpu_guest_context_t& operator*() const { return *context_; }

private:
    vcpu_guest_context_t* context_;
};

// Paused for as long as this lives.
class Paused {
public:
    explicit Paused(Domain& domain) : domain_(domain) {
        hv::pause_domain(domain_);
        wait_until_stopped(domain_);
    }
    ~Paused() { hv::unpause_domain(domain_); }
    Paused(const Paused&) = delete;

private:
    Domain& domain_;
};

Result<arch::CpuMask> read_map(const xenctl_bitmap& map) {
    arch::CpuMask mask = 0;
    const u32 bytes = std::min<u32>(map.nr_bits / 8 + (map.nr_bits % 8 != 0), sizeof mask);
    TRY(copy_in_bytes(&mask, guest_ptr(map.bitmap).address, bytes));
    if (map.nr_bits < 64)
        mask &= (arch::CpuMask{1} << map.nr_bits) - 1;
    return mask;
}

Result<void> write_map(const xenctl_bitmap& map, arch::CpuMask mask) {
    if (map.nr_bits > longest_map)
        return Err::TooBig;
    if (map.nr_bits < 64)
        mask &= (arch::CpuMask{1} << map.nr_bits) - 1;
    const u32 bytes = map.nr_bits / 8 + (map.nr_bits % 8 != 0);
    const u32 filled = std::min<u32>(bytes, sizeof mask);
    TRY(copy_out_bytes(guest_ptr(map.bitmap).address, &mask, filled));
    for (u32 i = filled; i < bytes; ++i)
        TRY(copy_out(guest_ptr(map.bitmap), u8{0}, i));
    return {};
}

} // namespace

// Makes all of them at once; the number is the one given at creation. Asking again makes what is missing.
Result<void> max_vcpus(Control& control) {
    Domain& domain = *control.target;
    if (control.names_caller() || control.op.u.max_vcpus.max != domain.max_vcpus)
        return Err::Inval;
    for (u32 i = 0; i < domain.max_vcpus; ++i) {
        if (!domain.vcpus[i])
            TRY(create_vcpu(domain, VcpuId(i)));
    }
    return {};
}

Result<void> set_vcpu_context(Control& control) {
    const auto& request = control.op.u.vcpucontext;
    if (control.names_caller() || guest_ptr(request.ctxt).is_null())
        return Err::Inval;
    Vcpu& vcpu = *TRY(control.vcpu(request.vcpu));
    Context context;
    if (!context)
        return Err::NoMem;
    TRY(copy_in_bytes(&*context, guest_ptr(request.ctxt).address, sizeof *context));
    const Paused paused(*control.target);
    return enter_guest_context(vcpu, *context);
}

Result<void> get_vcpu_context(Control& control) {
    const auto& request = control.op.u.vcpucontext;
    if (control.names_caller())
        return Err::Inval;
    Vcpu& vcpu = *TRY(control.vcpu(request.vcpu));
    if (!vcpu.initialised)
        return Err::NoData;
    Context context;
    if (!context)
        return Err::NoMem;
    const Paused paused(*control.target);
    get_guest_context(vcpu, *context);
    if ((vcpu.sched.stops.load() & bit_of(Stop::Down)) == 0)
        (*context).flags |= VGCF_online;
    return copy_out_bytes(guest_ptr(request.ctxt).address, &*context, sizeof *context);
}

Result<void> get_vcpu_info(Control& control) {
    auto& info = control.op.u.getvcpuinfo;
    const Vcpu& vcpu = *TRY(control.vcpu(info.vcpu));
    const u32 stops = vcpu.sched.stops.load();
    info.online = (stops & bit_of(Stop::Down)) == 0;
    info.blocked = (stops & bit_of(Stop::Blocked)) != 0;
    info.running = vcpu.running.load();
    info.cpu_time = run_time_of(vcpu);
    info.cpu = vcpu.processor.load();
    control.answer = true;
    return {};
}

Result<void> set_vcpu_affinity(Control& control) {
    auto& request = control.op.u.vcpuaffinity;
    if ((request.flags & (XEN_VCPUAFFINITY_HARD | XEN_VCPUAFFINITY_SOFT)) == 0 || (request.flags & ~affinity_flags))
        return Err::Inval;
    Vcpu& vcpu = *TRY(control.vcpu(request.vcpu));
    SchedUnit& unit = vcpu.sched;
    if (request.flags & XEN_VCPUAFFINITY_FORCE)
        unit.saved_affinity = 0;
    if (request.flags & XEN_VCPUAFFINITY_HARD) {
        const arch::CpuMask mask = TRY(read_map(request.cpumap_hard));
        if (unit.saved_affinity != 0)
            return Err::Busy; // bound for now by sched_op pin_override
        TRY(set_affinity(vcpu, mask));
        TRY(write_map(request.cpumap_hard, mask & online_cpus()));
    }
    if (request.flags & XEN_VCPUAFFINITY_SOFT) {
        const arch::CpuMask mask = TRY(read_map(request.cpumap_soft));
        if ((mask & online_cpus()) == 0)
            return Err::Inval;
        unit.soft_affinity = mask;
        TRY(write_map(request.cpumap_soft, mask & unit.affinity & online_cpus()));
    }
    return {};
}

Result<void> get_vcpu_affinity(Control& control) {
    const auto& request = control.op.u.vcpuaffinity;
    if ((request.flags & (XEN_VCPUAFFINITY_HARD | XEN_VCPUAFFINITY_SOFT)) == 0)
        return Err::Inval;
    const Vcpu& vcpu = *TRY(control.vcpu(request.vcpu));
    if (request.flags & XEN_VCPUAFFINITY_HARD)
        TRY(write_map(request.cpumap_hard,
                      vcpu.sched.saved_affinity ? vcpu.sched.saved_affinity : vcpu.sched.affinity));
    if (request.flags & XEN_VCPUAFFINITY_SOFT)
        TRY(write_map(request.cpumap_soft, vcpu.sched.soft_affinity));
    return {};
}

} // namespace domus::hv::control
