// System time from the TSC, calibrated against the PIT's second channel together with the APIC timer.
// Owner: boot writes, everyone reads.
#include "hypervisor/arch/x86_64/clock.hpp"

#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/arch/x86_64/apic.hpp"
#include "hypervisor/arch/x86_64/cpu.hpp"
#include "hypervisor/core/log.hpp"

namespace domus::hv::arch {
namespace {

constinit u64 tsc_hz = 0, apic_hz = 0, tsc_at_zero = 0;
constinit u32 tsc_multiplier = 0;  // ns = ((tsc << shift) * multiplier) >> 32
constinit u64 apic_multiplier = 0; // ticks = (ns * multiplier) >> 32
constinit i32 tsc_shift = 0;
constinit u64 boot_seconds = 0;

constexpr u64 pit_hz = 1193182, second = 1'000'000'000;
constexpr u32 pit_ticks = 23864; // 20 ms

struct Sample {
    u64 tsc, apic;
};

// TSC and APIC timer ticks while the PIT counts down pit_ticks.
Sample measure() {
    out8(0x61, (in8(0x61) & ~2) | 1); // gate of channel 2 on, speaker off
    out8(0x43, 0xb0);                 // channel 2, low then high byte, mode 0
    apic_arm_timer(~0u);
    out8(0x42, pit_ticks & 0xff);
    out8(0x42, pit_ticks >> 8);
    const u64 start = read_tsc();
    const u32 apic_start_count = apic_timer_count();
    while (!(in8(0x61) & 0x20))
        pause();
    const Sample s{read_tsc() - start, apic_start_count - apic_timer_count()};
    apic_arm_timer(0);
    return s;
}

// The multiplier and shift of struct vcpu_time_info: ns = ((ticks shifted) * multiplier) >> 32, multiplier in [2^31,
// 2^32).
void set_scale(u64 hz) {
    u64 rate = hz;
    tsc_shift = 0;
    while (rate > second * 2) {
        rate >>= 1;
        --tsc_shift;
    }
    while (rate <= second) {
        rate <<= 1;
        ++tsc_shift;
    }
    tsc_multiplier = static_cast<u32>(divide_shifted_32(second, rate));
}

u64 to_nanoseconds(u64 ticks) {
    const u64 shifted = tsc_shift >= 0 ? ticks << tsc_shift : ticks >> -tsc_shift;
    return static_cast<u64>((static_cast<unsigned __int128>(shifted) * tsc_multiplier) >> 32);
}

u8 cmos(u8 reg) {
    out8(0x70, reg);
    return in8(0x71);
}

u64 days_since_1970(u64 y, u64 m, u64 d) {
    y -= m <= 2;
    const u64 era = y / 400, of_era = y - era * 400;
    const u64 of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

u64 read_cmos_seconds() {
    while (cmos(0x0a) & 0x80)
        pause();
    const bool binary = cmos(0x0b) & 4;
    auto value = [binary](u8 reg) -> u64 {
        const u8 raw = cmos(reg);
        return binary ? raw : (raw >> 4) * 10 + (raw & 15);
    };
    const u64 s = value(0), m = value(2), h = value(4), day = value(7), month = value(8), year = 2000 + value(9);
    return ((days_since_1970(year, month, day) * 24 + h) * 60 + m) * 60 + s;
}

} // namespace

void clock_start() {
    boot_seconds = read_cmos_seconds();
    Sample best = measure();
    for (u32 i = 0; i < 2; ++i) { // the shortest of three: interruptions only lengthen
        const Sample s = measure();
        if (s.tsc < best.tsc)
            best = s;
    }
    tsc_hz = best.tsc * pit_hz / pit_ticks;
    apic_hz = best.apic * pit_hz / pit_ticks;
    set_scale(tsc_hz);
    apic_multiplier =
        apic_hz < second ? divide_shifted_32(apic_hz, second) : divide_shifted_32(apic_hz / 16, second) * 16;
    tsc_at_zero = read_tsc();
    log(Level::Info, "clock: TSC {} kHz, APIC timer {} kHz", tsc_hz / 1000, apic_hz / 1000);
}

Nanoseconds now() {
    return Nanoseconds(to_nanoseconds(read_tsc() - tsc_at_zero));
}

void set_deadline(Nanoseconds deadline) {
    if (deadline.n == ~u64{0})
        return apic_arm_timer(0);
    const u64 time = now().n;
    const u64 wait = deadline.n > time ? deadline.n - time : 1;
    const u64 ticks = static_cast<u64>((static_cast<unsigned __int128>(wait) * apic_multiplier) >> 32);
    // A far deadline comes in pieces: the interrupt finds nothing due and arms again.
    apic_arm_timer(ticks == 0 ? 1 : ticks > 0xffffffff ? 0xffffffff : static_cast<u32>(ticks));
}

u64 wall_clock_seconds_at_boot() {
    return boot_seconds;
}
TscScale tsc_scale() {
    return {tsc_at_zero, 0, tsc_multiplier, tsc_shift};
}
u32 tsc_khz() {
    return static_cast<u32>(tsc_hz / 1000);
}

} // namespace domus::hv::arch
