// Two vcpus, time-sliced where there is one CPU: initialise, up, IPIs both ways, shared counters, down.
#include "frontend-drivers/guestkit/smp.hpp"

#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/test.hpp"
#include "frontend-drivers/guestkit/time.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

constexpr u64 second = 1'000'000'000;
volatile u64 started, rounds, pings, pongs, spins;
volatile u64 argument_seen;
u32 to_second, to_first;

void ping(u32) {
    pings = pings + 1;
    notify(to_first);
}
void pong(u32) {
    pongs = pongs + 1;
}

// FPU and SSE state: marks in two registers, a control word and MXCSR that are not the initial ones.
struct FpuMarks {
    u64 low, high;
    u16 control;
    u32 mxcsr;
};
constexpr FpuMarks initial_fpu = {0, 0, 0x37f, 0x1f80};
FpuMarks second_found;

FpuMarks read_fpu() {
    FpuMarks marks{};
    asm volatile("movq %%xmm0, %0; movq %%xmm15, %1; fnstcw %2; stmxcsr %3"
                 : "=m"(marks.low), "=m"(marks.high), "=m"(marks.control), "=m"(marks.mxcsr));
    return marks;
}
void write_fpu(const FpuMarks& marks) {
    asm volatile("movq %0, %%xmm0; movq %1, %%xmm15; fldcw %2; ldmxcsr %3"
                 :
                 : "m"(marks.low), "m"(marks.high), "m"(marks.control), "m"(marks.mxcsr));
}
bool same(const FpuMarks& a, const FpuMarks& b) {
    return a.low == b.low && a.high == b.high && a.control == b.control && a.mxcsr == b.mxcsr;
}

void second_vcpu(u64 argument) {
    second_found = read_fpu();
    write_fpu({0x5ec0, 0x5ec1, 0x77f, 0x3f80});
    argument_seen = argument;
    enable_events();
    started = this_vcpu();
    while (rounds == 0)
        spins = spins + 1; // without yielding: only the hypervisor's clock takes the CPU away
    bring_down(1);
    for (;;)
        block();
}

} // namespace

void guest_main() {
    expect(vcpu_op(VCPUOP_up, 1, nullptr), -XEN_EINVAL, "up_before_initialise");
    expect(initialise_vcpu(1, second_vcpu, 0x77), 0, "initialise");
    expect(initialise_vcpu(1, second_vcpu, 0x77), -XEN_EEXIST, "initialise_twice");
    expect(initialise_vcpu(7, second_vcpu, 0), -XEN_ENOENT, "initialise_beyond");
    check(!is_up(1), "down_at_first");
    to_second = static_cast<u32>(bind_ipi(1));
    to_first = static_cast<u32>(bind_ipi(0));
    on_event(to_second, ping);
    on_event(to_first, pong);
    const FpuMarks first_marks{0x1111222233334444, 0x5555666677778888, 0xf7f, 0x5f80};
    write_fpu(first_marks);
    expect(bring_up(1), 0, "bring_up");
    check(wait_for_change(&started, 0, second), "second_vcpu_runs");
    check(started == 1 && argument_seen == 0x77, "runs_as_vcpu_1", "as %lu with %lx", started, argument_seen);
    check(is_up(1), "is_up");
    check(same(second_found, initial_fpu), "new_vcpu_has_a_fresh_fpu", "xmm0 %lx xmm15 %lx control %x mxcsr %x",
          second_found.low, second_found.high, second_found.control, second_found.mxcsr);
    const FpuMarks back = read_fpu();
    check(same(back, first_marks), "fpu_comes_back", "xmm0 %lx xmm15 %lx control %x mxcsr %x", back.low, back.high,
          back.control, back.mxcsr);
    for (u64 i = 0; i < 20; ++i) {
        const u64 before = pongs;
        notify(to_second);
        if (!check(wait_for_change(&pongs, before, second), "ping_pong"))
            break;
    }
    check(pings == pongs && pings > 0, "every_ping_answered", "%lu and %lu", pings, pongs);
    const u64 spun = spins;
    const u64 end = system_time() + second / 4;
    while (system_time() < end) // both compete; neither yields
        ;
    check(spins > spun, "time_is_sliced");
    vcpu_runstate_info_t info{};
    expect(vcpu_op(VCPUOP_get_runstate_info, 1, &info), 0, "runstate_of_other");
    check(info.time[RUNSTATE_running] > 0, "other_has_run", "%lu ns", info.time[RUNSTATE_running]);
    rounds = 1;
    const u64 limit = system_time() + second;
    while (is_up(1) && system_time() < limit)
        sched_op(SCHEDOP_yield);
    check(!is_up(1), "goes_down");
    finish();
}
