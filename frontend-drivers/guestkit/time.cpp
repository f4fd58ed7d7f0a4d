// The stable clock and the timers; see time.hpp. Reads the hypervisor's page under its version number.
#include "frontend-drivers/guestkit/time.hpp"

#include "frontend-drivers/guestkit/events.hpp"

namespace domus::guest {
namespace {

u64 read_tsc() {
    u32 low, high;
    asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return u64{high} << 32 | low;
}

} // namespace

u64 system_time() {
    const auto& time = this_vcpu_info().time;
    for (;;) {
        const u32 version = __atomic_load_n(&time.version, __ATOMIC_ACQUIRE);
        u64 delta = read_tsc() - time.tsc_timestamp;
        delta = time.tsc_shift < 0 ? delta >> -time.tsc_shift : delta << time.tsc_shift;
        const u64 now =
            time.system_time + static_cast<u64>((static_cast<unsigned __int128>(delta) * time.tsc_to_system_mul) >> 32);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(version & 1) && version == __atomic_load_n(&time.version, __ATOMIC_RELAXED))
            return now;
    }
}

long set_single_timer(u64 absolute, u32 flags) {
    vcpu_set_singleshot_timer_t argument{absolute, flags};
    return vcpu_op(VCPUOP_set_singleshot_timer, this_vcpu(), &argument);
}

long stop_single_timer() {
    return vcpu_op(VCPUOP_stop_singleshot_timer, this_vcpu(), nullptr);
}

long set_periodic_timer(u64 period) {
    vcpu_set_periodic_timer_t argument{period};
    return vcpu_op(VCPUOP_set_periodic_timer, this_vcpu(), &argument);
}

long stop_periodic_timer() {
    return vcpu_op(VCPUOP_stop_periodic_timer, this_vcpu(), nullptr);
}

} // namespace domus::guest
