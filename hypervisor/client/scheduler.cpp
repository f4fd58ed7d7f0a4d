// Scheduling of domains: weights, caps, affinity. The scheduler half of hypervisor.hpp.
#include "hypervisor/client/hypervisor.hpp"

#include "hypervisor/client/call.hpp"

namespace domus::client {

using detail::Domctl;
using detail::Sysctl;

namespace {

/// Credit and credit2 share the two fields; other schedulers have neither.
void check_scheduler(unsigned id, std::uint16_t domid) {
    if (id != XEN_SCHEDULER_CREDIT && id != XEN_SCHEDULER_CREDIT2) {
        throw Error("domctl scheduler_op", domid, EOPNOTSUPP,
                    "weights and caps need a credit scheduler; this one has number " + std::to_string(id));
    }
}

/// Fills one affinity bit map; the lengths are in bits for the interface.
void fill(xenctl_bitmap& map, Buffer<std::uint8_t>& bits) {
    set_xen_guest_handle(map.bitmap, bits.data());
    map.nr_bits = static_cast<std::uint32_t>(bits.size() * 8);
}

} // namespace

unsigned Hypervisor::scheduler_id() {
    Sysctl call(raw_, "sched_id", XEN_SYSCTL_sched_id);
    call.run();
    return call.u().sched_id.sched_id;
}

SchedulerParams Hypervisor::scheduler_params(std::uint16_t domid) {
    const unsigned id = scheduler_id();
    check_scheduler(id, domid);
    Domctl call(raw_, "scheduler_op", XEN_DOMCTL_scheduler_op, domid);
    auto& op = call.u().scheduler_op;
    op.sched_id = id;
    op.cmd = XEN_DOMCTL_SCHEDOP_getinfo;
    call.run();
    return {.weight = op.u.credit.weight, .cap = op.u.credit.cap};
}

void Hypervisor::set_scheduler_params(std::uint16_t domid, const SchedulerParams& params) {
    const unsigned id = scheduler_id();
    check_scheduler(id, domid);
    Domctl call(raw_, "scheduler_op", XEN_DOMCTL_scheduler_op, domid);
    auto& op = call.u().scheduler_op;
    op.sched_id = id;
    op.cmd = XEN_DOMCTL_SCHEDOP_putinfo;
    op.u.credit = {.weight = params.weight, .cap = params.cap};
    call.run();
}

std::vector<std::uint8_t> Hypervisor::set_vcpu_affinity(std::uint16_t domid, unsigned vcpu,
                                                        std::vector<std::uint8_t> cpus) {
    Buffer<std::uint8_t> hard(raw_, cpus.size());
    std::copy(cpus.begin(), cpus.end(), hard.span().begin());
    Domctl call(raw_, "setvcpuaffinity", XEN_DOMCTL_setvcpuaffinity, domid);
    auto& op = call.u().vcpuaffinity;
    op.vcpu = vcpu;
    op.flags = XEN_VCPUAFFINITY_HARD;
    fill(op.cpumap_hard, hard);
    call.run();
    return {hard.span().begin(), hard.span().end()};
}

std::vector<std::uint8_t> Hypervisor::vcpu_affinity(std::uint16_t domid, unsigned vcpu, unsigned max_cpus) {
    Buffer<std::uint8_t> hard(raw_, (max_cpus + 7) / 8);
    Domctl call(raw_, "getvcpuaffinity", XEN_DOMCTL_getvcpuaffinity, domid);
    auto& op = call.u().vcpuaffinity;
    op.vcpu = vcpu;
    op.flags = XEN_VCPUAFFINITY_HARD;
    fill(op.cpumap_hard, hard);
    call.run();
    return {hard.span().begin(), hard.span().end()};
}

} // namespace domus::client
