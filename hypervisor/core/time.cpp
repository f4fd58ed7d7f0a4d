// Clock pages and the wall clock, as guests see them. Lock: a vcpu's pages belong to the CPU that runs it (or to
// whoever makes it); the wall clock's base has its own (two words, written by dom0's settime only). Called by the
// scheduler at context switches, vcpu_op, platform_op and domain creation.
#include "hypervisor/core/time.hpp"

#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/guest_memory.hpp"

namespace domus::hv {
namespace {

constexpr u64 ns_per_s = 1'000'000'000;

// Wall clock at system time 0, in ns since 1970.
constinit std::atomic<u64> wall_clock_base{0};

void fence() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

// The version protocol of <xen/xen.h>: odd while the fields change, and guests read again when it changed. The guest
// may have scribbled on the version; it only fools itself.
void write_time(vcpu_time_info_t& page, const vcpu_time_info_t& from) {
    volatile u32& version = page.version;
    version = version | 1;
    fence();
    page.tsc_timestamp = from.tsc_timestamp;
    page.system_time = from.system_time;
    page.tsc_to_system_mul = from.tsc_to_system_mul;
    page.tsc_shift = from.tsc_shift;
    page.flags = from.flags;
    fence();
    version = version + 1;
}

vcpu_time_info_t time_of(const arch::TscScale& scale) {
    vcpu_time_info_t time{};
    time.tsc_timestamp = scale.tsc_timestamp;
    time.system_time = scale.system_time;
    time.tsc_to_system_mul = scale.tsc_to_system_mul;
    time.tsc_shift = static_cast<std::int8_t>(scale.tsc_shift);
    time.flags = XEN_PVCLOCK_TSC_STABLE_BIT; // one scale and one origin for all CPUs
    return time;
}

} // namespace

void update_time_page(Vcpu& vcpu) {
    const arch::TscScale scale = arch::tsc_scale();
    if (vcpu.time_stamp == scale.tsc_timestamp)
        return;
    vcpu.time_stamp = scale.tsc_timestamp;
    write_time(vcpu.info->time, time_of(scale));
}

void update_guest_time_copy(Vcpu& vcpu) {
    // Its version lies in guest memory, so it is derived from what is read there: odd, fields, even.
    const GuestPtr<vcpu_time_info_t> area{vcpu.time_info_guest};
    auto present = copy_in(area);
    if (!present)
        return;
    vcpu_time_info_t time = time_of(arch::tsc_scale());
    if (present.value().tsc_timestamp == time.tsc_timestamp && (present.value().version & 1) == 0 &&
        present.value().tsc_to_system_mul == time.tsc_to_system_mul)
        return;
    const u32 odd = present.value().version | 1;
    if (!copy_out_bytes(vcpu.time_info_guest, &odd, sizeof odd))
        return;
    fence();
    time.version = odd;
    if (!copy_out(area, time))
        return;
    fence();
    const u32 even = odd + 1;
    (void)copy_out_bytes(vcpu.time_info_guest, &even, sizeof even);
}

void wall_clock_start() {
    wall_clock_base.store(arch::wall_clock_seconds_at_boot() * ns_per_s);
}

void update_wall_clock(Domain& domain) {
    shared_info_t* shared = domain.shared;
    if (!shared)
        return;
    const u64 base = wall_clock_base.load(std::memory_order_relaxed);
    const u64 seconds = base / ns_per_s + static_cast<u64>(domain.time_offset_seconds);
    volatile u32& version = shared->wc_version;
    version = version | 1;
    fence();
    shared->wc_sec = static_cast<u32>(seconds);
    shared->wc_sec_hi = static_cast<u32>(seconds >> 32);
    shared->wc_nsec = static_cast<u32>(base % ns_per_s);
    fence();
    version = version + 1;
}

void set_wall_clock(u64 ns_since_epoch, u64 system_time) {
    wall_clock_base.store(ns_since_epoch - system_time, std::memory_order_relaxed);
    for (DomainRef domain = first_domain(); domain; domain = next_domain(*domain))
        update_wall_clock(*domain);
}

} // namespace domus::hv
