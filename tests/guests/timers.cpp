// Time: the stable clock never goes back and agrees with the timers; single-shot, periodic and poll time-outs.
#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/test.hpp"
#include "frontend-drivers/guestkit/time.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

constexpr u64 millisecond = 1'000'000;
volatile u64 ticks;
volatile u64 last_tick;
u32 port;

void tick(u32) {
    ticks = ticks + 1;
    last_tick = system_time();
}

void clock_is_monotonic() {
    u64 last = system_time();
    u64 back = 0;
    const u64 start = last;
    while (last < start + 50 * millisecond) {
        const u64 now = system_time();
        if (now < last)
            back = last - now;
        last = now;
    }
    check(back == 0, "clock_never_goes_back", "by %lu ns", back);
}

// A vcpu starts with a periodic timer of 10 ms.
void initial_period() {
    const u64 before = ticks;
    check(wait_for_change(&ticks, before, 100 * millisecond), "starts_with_a_periodic_timer");
}

// Fires once, not before its time and not long after.
void single_shot(u64 delay, const char* name) {
    const u64 before = ticks;
    const u64 due = system_time() + delay;
    expect(set_single_timer(due), 0, name);
    const bool fired = wait_for_change(&ticks, before, delay + 500 * millisecond);
    check(fired, "fires", "not within %lu ns", delay + 500 * millisecond);
    check(last_tick + millisecond >= due, "not_before_its_time", "%lu ns early", due - last_tick);
    check(!wait_for_change(&ticks, before + 1, 30 * millisecond), "fires_once", "%lu times", ticks - before);
}

void stopped() {
    const u64 before = ticks;
    set_single_timer(system_time() + 20 * millisecond);
    expect(stop_single_timer(), 0, "stop_single");
    check(!wait_for_change(&ticks, before, 60 * millisecond), "stopped_does_not_fire");
}

void past_without_flag_fires() {
    const u64 before = ticks;
    expect(set_single_timer(1), 0, "set_in_the_past");
    check(wait_for_change(&ticks, before, 100 * millisecond), "past_fires_at_once");
    // the flag may be ignored (<xen/vcpu.h>); Xen 4.17 ignores it
    expect_either(set_single_timer(1, VCPU_SSHOTTMR_future), -XEN_ETIME, 0, "past_with_future_flag");
    stop_single_timer();
}

void set_timer_op() {
    const u64 before = ticks;
    expect(hypercall(__HYPERVISOR_set_timer_op, system_time() + 5 * millisecond), 0, "set_timer_op");
    check(wait_for_change(&ticks, before, 500 * millisecond), "set_timer_op_fires");
}

void periodic() {
    const u64 before = ticks;
    const u64 start = system_time();
    expect(set_periodic_timer(10 * millisecond), 0, "set_periodic");
    // no block() here: on Xen the periodic timer does not wake a vcpu that sleeps
    while (ticks < before + 10 && system_time() < start + 2000 * millisecond)
        sched_op(SCHEDOP_yield);
    const u64 taken = system_time() - start;
    check(ticks >= before + 10, "periodic_fires", "%lu times", ticks - before);
    check(taken >= 85 * millisecond, "periodic_not_too_fast", "10 periods of 10 ms in %lu ns", taken);
    expect(stop_periodic_timer(), 0, "stop_periodic");
    const u64 after = ticks;
    const u64 end = system_time() + 60 * millisecond;
    while (system_time() < end)
        sched_op(SCHEDOP_yield);
    check(ticks <= after + 1, "periodic_stops", "%lu more", ticks - after); // one may have been under way
}

// Sleeping in block() until the timer's event.
void sleeps() {
    const u64 start = system_time();
    const u64 before = ticks;
    mask_events();
    set_single_timer(start + 30 * millisecond);
    while (ticks == before)
        block(); // enables events and must not lose the wake-up
    check(system_time() - start >= 29 * millisecond, "block_sleeps", "%lu ns", system_time() - start);
}

void poll_times_out() {
    mask_port(port);
    clear_pending(port);
    evtchn_port_t ports[1] = {port};
    sched_poll_t poll{{ports}, 1, 0};
    const u64 start = system_time();
    poll.timeout = start + 20 * millisecond;
    expect(sched_op(SCHEDOP_poll, &poll), 0, "poll");
    check(system_time() - start >= 19 * millisecond, "poll_times_out", "after %lu ns", system_time() - start);
    set_single_timer(system_time() + 5 * millisecond);
    poll.timeout = system_time() + 1000 * millisecond;
    const u64 second = system_time();
    expect(sched_op(SCHEDOP_poll, &poll), 0, "poll_for_masked_port");
    check(is_pending(port) && system_time() - second < 900 * millisecond, "poll_sees_masked_port", "after %lu ns",
          system_time() - second);
    unmask_port(port);
}

void runstate() {
    vcpu_runstate_info_t info{};
    expect(vcpu_op(VCPUOP_get_runstate_info, 0, &info), 0, "runstate");
    check(info.state == RUNSTATE_running && info.time[RUNSTATE_running] > 0 && info.time[RUNSTATE_blocked] > 0,
          "runstate_times", "state %d, running %lu, blocked %lu", info.state, info.time[0], info.time[2]);
}

void wall_clock() {
    check(shared->wc_sec > 1'600'000'000 && !(shared->wc_version & 1), "wall_clock", "%u", shared->wc_sec);
}

} // namespace

void guest_main() {
    const long bound = bind_virq(VIRQ_TIMER);
    check(bound > 0, "bind_timer", "%ld", bound);
    port = static_cast<u32>(bound);
    on_event(port, tick);
    initial_period();
    expect(stop_periodic_timer(), 0, "stop_initial_periodic");
    clock_is_monotonic();
    single_shot(10 * millisecond, "single_10ms");
    single_shot(1 * millisecond, "single_1ms");
    stopped();
    past_without_flag_fires();
    set_timer_op();
    periodic();
    sleeps();
    poll_times_out();
    runstate();
    wall_clock();
    finish();
}
