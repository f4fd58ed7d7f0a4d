// The scheduler's mechanism: per-CPU run queues, states of vcpus, choosing, accounting. Owner: each CPU its own queue.
// Lock: Rank::RunQueue of the CPU. Called by the exit path (choose_next), hypercalls, timers and event sending; not
// from interrupt handlers. Must not arm timers or raise events while it holds the lock (lower ranks).
#include "hypervisor/core/sched.hpp"

#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/base/guarded.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/sched_policy.hpp"
#include "hypervisor/core/teardown.hpp"
#include "hypervisor/core/time.hpp"
#include "hypervisor/core/trace.hpp"

namespace domus::hv {
namespace {

struct CpuQueue {
    constexpr CpuQueue() = default; // no aggregate: Guarded has an explicit constructor
    Guarded<RunQueue, Rank::RunQueue> queue;
    std::atomic<bool> attention{false}; // choose_next has something to do (fast look without the lock)
    Timer slice_timer{};
};

constinit std::array<CpuQueue, arch::max_cpus> queues{};
constinit const SchedPolicy* policy = &fair_policy;
constinit std::atomic<arch::CpuMask> online{0};

bool is_runnable(const Vcpu& vcpu) {
    return vcpu.sched.stops.load(std::memory_order_acquire) == 0;
}

// The state that a vcpu is in while it does not run. Blocked wins over other reasons.
int idle_runstate(const Vcpu& vcpu) {
    const u32 stops = vcpu.sched.stops.load(std::memory_order_relaxed);
    if (stops == 0)
        return RUNSTATE_runnable;
    return (stops & bit_of(Stop::Blocked)) ? RUNSTATE_blocked : RUNSTATE_offline;
}

void want_choice(u32 cpu, RunQueue& queue) {
    queue.reschedule = true;
    queues[cpu].attention.store(true, std::memory_order_release);
    arch::kick(CpuId(cpu));
}

void slice_over(void* context) {
    const u32 cpu = static_cast<u32>(reinterpret_cast<usize>(context));
    queues[cpu].queue.with([&](RunQueue& queue) {
        queue.slice_end = never;
        want_choice(cpu, queue);
    });
}

// Where a vcpu that becomes runnable goes: where it ran last if it may. Balancing between CPUs will live here.
u32 choose_cpu(const Vcpu& vcpu) {
    const u32 last = vcpu.processor.load(std::memory_order_relaxed);
    const arch::CpuMask allowed = vcpu.sched.affinity & online.load(std::memory_order_relaxed);
    if (allowed == 0 || ((allowed >> last) & 1))
        return last;
    return static_cast<u32>(__builtin_ctzll(allowed));
}

// The running time since the last charge goes to the vcpu's and its domain's accounts.
void charge_current(RunQueue& queue, u64 now) {
    Vcpu& vcpu = *queue.current;
    if (now <= vcpu.sched.started)
        return;
    const u64 ran = now - vcpu.sched.started;
    vcpu.sched.started = now;
    if (vcpu.is_idle)
        return;
    vcpu.domain.run_time.fetch_add(ran, std::memory_order_relaxed);
    policy->charge(queue, vcpu, ran, now);
}

// Queue a runnable vcpu that neither runs nor waits; let it preempt.
void place(Vcpu& vcpu, Enqueue why) {
    const u32 cpu = choose_cpu(vcpu);
    queues[cpu].queue.with([&](RunQueue& queue) {
        if (vcpu.sched.queued || queue.current == &vcpu || !is_runnable(vcpu))
            return;
        const u64 now = arch::now().n;
        vcpu.processor.store(cpu, std::memory_order_relaxed);
        vcpu.sched.queued = true;
        if (queue.current)
            charge_current(queue, now); // so that the policy compares with the present, not with the last switch
        policy->enqueue(queue, vcpu, why);
        set_runstate(vcpu, RUNSTATE_runnable, now);
        if (!queue.current)
            return; // this CPU is not up yet
        if (queue.current == queue.idle || policy->preempts(queue, vcpu, *queue.current))
            return want_choice(cpu, queue);
        if (queue.slice_end == never) { // it ran alone until now
            queue.retime = true;
            queues[cpu].attention.store(true, std::memory_order_release);
            arch::kick(CpuId(cpu));
        }
    });
}

struct Choice {
    Vcpu* next;
    Vcpu* moved = nullptr; // runnable, but must go to another CPU
    u64 slice_end = never;
    bool retime = false;
};

// Put the vcpu that ran until now back into the queue, if it goes on.
void put_back(RunQueue& queue, Vcpu& previous, u32 cpu, u64 now, Choice& choice) {
    // `running` stays set until arch has saved its registers (wait_until_stopped).
    set_runstate(previous, idle_runstate(previous), now);
    if (!is_runnable(previous))
        return;
    if (choose_cpu(previous) != cpu) {
        choice.moved = &previous;
        return;
    }
    previous.sched.queued = true;
    policy->enqueue(queue, previous, previous.sched.yielded ? Enqueue::Yielded : Enqueue::Preempted);
}

// A vcpu that was stopped while it moved between CPUs may still wait here: it is dropped.
Vcpu* pick_runnable(RunQueue& queue, u64 now) {
    while (Vcpu* next = policy->pick(queue, now)) {
        next->sched.queued = false;
        if (is_runnable(*next))
            return next;
        set_runstate(*next, idle_runstate(*next), now);
    }
    return queue.idle;
}

Choice choose(RunQueue& queue, Vcpu& previous, u32 cpu, u64 now) {
    Choice choice{&previous};
    queues[cpu].attention.store(false, std::memory_order_relaxed);
    charge_current(queue, now);
    if (queue.reschedule || (!previous.is_idle && !is_runnable(previous))) {
        queue.current = queue.idle; // nobody: so that place() on another CPU does not take `previous` for running
        if (previous.is_idle)
            set_runstate(previous, RUNSTATE_runnable, now);
        else
            put_back(queue, previous, cpu, now, choice);
        choice.next = pick_runnable(queue, now);
        choice.next->sched.yielded = false;
        queue.current = choice.next;
        choice.next->sched.started = now;
        choice.next->running.store(true, std::memory_order_relaxed);
        choice.next->processor.store(cpu, std::memory_order_relaxed);
        set_runstate(*choice.next, RUNSTATE_running, now);
    }
    queue.reschedule = queue.retime = false;
    choice.slice_end = policy->slice_end(queue, *queue.current, now);
    choice.retime = choice.slice_end != queue.slice_end;
    queue.slice_end = choice.slice_end;
    return choice;
}

void note_switch(Vcpu& previous, Vcpu& next) {
    ++next.domain.perf.counts[static_cast<usize>(Count::ContextSwitches)];
    trace(TraceEvent::ContextSwitch, u64{previous.domain.id.n} << 32 | previous.id.n,
          u64{next.domain.id.n} << 32 | next.id.n);
}

} // namespace

void sched_start() {
    for (u32 cpu = 0; cpu < arch::max_cpus; ++cpu) {
        queues[cpu].queue.with([](RunQueue& queue) { queue = RunQueue{}; });
        queues[cpu].attention.store(false, std::memory_order_relaxed);
        queues[cpu].slice_timer = Timer{};
        queues[cpu].slice_timer.handler = slice_over;
        queues[cpu].slice_timer.context = reinterpret_cast<void*>(static_cast<usize>(cpu));
    }
    online.store(0, std::memory_order_relaxed);
}

void sched_add_idle(CpuId cpu, Vcpu& idle) {
    idle.is_idle = true;
    idle.processor.store(cpu.n, std::memory_order_relaxed);
    idle.running.store(true, std::memory_order_relaxed);
    queues[cpu.n].queue.with([&](RunQueue& queue) {
        queue.idle = queue.current = &idle;
        const u64 now = arch::now().n;
        idle.sched.started = now;
        idle.runstate = {};
        idle.runstate.state = RUNSTATE_running;
        idle.runstate.state_entry_time = now;
        if (queue.waiting != 0)
            want_choice(cpu.n, queue);
    });
    online.fetch_or(arch::CpuMask{1} << cpu.n, std::memory_order_release);
}

Vcpu& choose_next(Vcpu& previous) {
    const u32 cpu = arch::this_cpu().n;
    CpuQueue& mine = queues[cpu];
    reap_domains();
    if (!mine.attention.load(std::memory_order_acquire)) [[likely]]
        return previous;
    const u64 now = arch::now().n;
    const Choice choice = mine.queue.with([&](RunQueue& queue) { return choose(queue, previous, cpu, now); });
    if (choice.moved)
        place(*choice.moved, Enqueue::Preempted);
    if (choice.retime) {
        if (choice.slice_end == never)
            disarm(mine.slice_timer);
        else
            arm(mine.slice_timer, Nanoseconds(choice.slice_end));
    }
    Vcpu& next = *choice.next;
    if (&next == &previous)
        return next;
    note_switch(previous, next);
    if (previous.periodic_period != 0)
        suspend_periodic_timer(previous);
    if (!next.is_idle) {
        update_time_page(next);
        if (next.periodic_period != 0)
            resume_periodic_timer(next, now);
    }
    return next;
}

void switched_in(Vcpu& vcpu) {
    if (vcpu.time_info_guest != 0)
        update_guest_time_copy(vcpu);
    if (vcpu.runstate_guest != 0)
        update_guest_runstate_copy(vcpu);
}

void stop(Vcpu& vcpu, Stop reason) {
    const u32 before = vcpu.sched.stops.fetch_or(bit_of(reason), std::memory_order_acq_rel);
    if (before == (before | bit_of(reason)))
        return;
    const u32 cpu = vcpu.processor.load(std::memory_order_relaxed);
    queues[cpu].queue.with([&](RunQueue& queue) {
        if (is_runnable(vcpu))
            return; // started again by somebody in between
        if (queue.current == &vcpu)
            return want_choice(cpu, queue);
        if (vcpu.sched.queued) {
            policy->remove(queue, vcpu);
            vcpu.sched.queued = false;
        }
        set_runstate(vcpu, idle_runstate(vcpu), arch::now().n);
    });
}

void start(Vcpu& vcpu, Stop reason) {
    const u32 before = vcpu.sched.stops.fetch_and(~bit_of(reason), std::memory_order_acq_rel);
    if ((before & bit_of(reason)) == 0)
        return;
    if (before == bit_of(reason))
        return place(vcpu, Enqueue::Woken);
    queues[vcpu.processor.load(std::memory_order_relaxed)].queue.with([&](RunQueue& queue) {
        if (queue.current != &vcpu && !vcpu.sched.queued)
            set_runstate(vcpu, idle_runstate(vcpu), arch::now().n);
    });
}

void yield_current() {
    Vcpu& vcpu = current();
    const u32 cpu = arch::this_cpu().n;
    queues[cpu].queue.with([&](RunQueue& queue) {
        if (queue.waiting == 0)
            return; // nobody to yield to
        vcpu.sched.yielded = true;
        want_choice(cpu, queue);
    });
}

Result<void> set_affinity(Vcpu& vcpu, arch::CpuMask mask) {
    if ((mask & online_cpus()) == 0)
        return Err::Inval;
    vcpu.sched.affinity = mask;
    const u32 cpu = vcpu.processor.load(std::memory_order_relaxed);
    if ((mask >> cpu) & 1)
        return {};
    const bool waited = queues[cpu].queue.with([&](RunQueue& queue) {
        if (queue.current == &vcpu)
            want_choice(cpu, queue); // choose_next moves it
        if (!vcpu.sched.queued)
            return false;
        policy->remove(queue, vcpu);
        vcpu.sched.queued = false;
        return true;
    });
    if (waited)
        place(vcpu, Enqueue::Woken);
    return {};
}

arch::CpuMask online_cpus() {
    return online.load(std::memory_order_acquire);
}

u64 idle_time(CpuId cpu) {
    return queues[cpu.n].queue.with([](RunQueue& queue) { return queue.idle ? run_time_of(*queue.idle) : 0; });
}

u64 run_time_of(const Vcpu& vcpu) {
    return runstate_now(vcpu).time[RUNSTATE_running];
}

} // namespace domus::hv
