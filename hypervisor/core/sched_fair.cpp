// The weighted fair policy: each vcpu has a virtual time that advances with its run time divided by its weight; the
// least runs next. Sleepers keep a small lead, so that a wake-up for I/O is served at once, but no more than that.
// Caps: a domain has a budget per accounting period; without budget its vcpus wait for the next period.
// Lock: Rank::RunQueue of the queue that is passed in. Called by sched.cpp only; never blocks, never calls back.
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/sched_policy.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

constexpr u64 ms = 1'000'000;
constexpr u64 latency = 12 * ms;       // every waiting vcpu shall have run once within this time ...
constexpr u64 shortest_slice = 2 * ms; // ... but none is switched out sooner than this by another's turn
constexpr u64 sleeper_lead = 2 * ms;   // how far behind the others a sleeper may be when it wakes
constexpr u64 preempt_lead = ms / 4;   // a woken vcpu must be this much behind to interrupt the running one
constexpr u64 cap_period = 20 * ms;
constexpr u32 usual_weight = 256;

u64 weighted(const Vcpu& vcpu, u64 ran) {
    return ran * usual_weight / std::max<u32>(vcpu.domain.weight, 1);
}

u64 less(u64 a, u64 b) {
    return a > b ? a - b : 0;
}

u64 budget_of(const Domain& domain) {
    return cap_period * domain.cap / 100;
}

// A new period gives the domain a new budget; what it used beyond the old one is still owed.
void renew_budget(Domain& domain, u64 now) {
    const u64 period = now / cap_period;
    const u64 last = domain.cap_period.load(std::memory_order_relaxed);
    if (period <= last)
        return;
    domain.cap_period.store(period, std::memory_order_relaxed);
    const u64 periods = std::min<u64>(period - last, 1000);
    domain.cap_used.store(less(domain.cap_used.load(std::memory_order_relaxed), periods * budget_of(domain)),
                          std::memory_order_relaxed);
}

u64 budget_left(const Domain& domain) {
    return domain.cap == 0 ? never : less(budget_of(domain), domain.cap_used.load(std::memory_order_relaxed));
}

void raise_floor(RunQueue& queue, u64 running_time) {
    const u64 least = queue.first ? std::min(queue.first->sched.virtual_time, running_time) : running_time;
    queue.floor = std::max(queue.floor, least);
}

void enqueue(RunQueue& queue, Vcpu& vcpu, Enqueue why) {
    SchedUnit& unit = vcpu.sched;
    if (why == Enqueue::Woken)
        unit.virtual_time = std::max(unit.virtual_time, less(queue.floor, sleeper_lead));
    else if (why == Enqueue::Yielded && queue.first)
        unit.virtual_time = std::max(unit.virtual_time, queue.first->sched.virtual_time + 1);
    Vcpu** place = &queue.first;
    while (*place && (*place)->sched.virtual_time <= unit.virtual_time)
        place = &(*place)->sched.next;
    unit.next = *place;
    *place = &vcpu;
    ++queue.waiting;
}

void remove(RunQueue& queue, Vcpu& vcpu) {
    for (Vcpu** place = &queue.first; *place; place = &(*place)->sched.next) {
        if (*place == &vcpu) {
            *place = vcpu.sched.next;
            vcpu.sched.next = nullptr;
            --queue.waiting;
            return;
        }
    }
}

Vcpu* pick(RunQueue& queue, u64 now) {
    for (Vcpu* vcpu = queue.first; vcpu; vcpu = vcpu->sched.next) {
        if (vcpu->domain.cap != 0) {
            renew_budget(vcpu->domain, now);
            if (budget_left(vcpu->domain) == 0)
                continue;
        }
        remove(queue, *vcpu);
        raise_floor(queue, vcpu->sched.virtual_time);
        return vcpu;
    }
    return nullptr;
}

void charge(RunQueue& queue, Vcpu& vcpu, u64 ran, u64 now) {
    vcpu.sched.virtual_time += weighted(vcpu, ran);
    raise_floor(queue, vcpu.sched.virtual_time);
    if (vcpu.domain.cap != 0) {
        renew_budget(vcpu.domain, now);
        vcpu.domain.cap_used.fetch_add(ran, std::memory_order_relaxed);
    }
}

bool preempts(const RunQueue&, const Vcpu& woken, const Vcpu& running) {
    if (woken.domain.cap != 0 && budget_left(woken.domain) == 0)
        return false;
    return woken.sched.virtual_time + preempt_lead < running.sched.virtual_time;
}

// The running vcpu's turn ends when another's comes, when its budget is spent, or when a waiting one gets budget again.
u64 slice_end(const RunQueue& queue, const Vcpu& chosen, u64 now) {
    u64 end = never;
    if (!chosen.is_idle) {
        if (queue.waiting != 0)
            end = now + std::max(shortest_slice, latency / (queue.waiting + 1));
        if (chosen.domain.cap != 0)
            end = std::min(end, now + std::max<u64>(budget_left(chosen.domain), 1000));
    }
    for (const Vcpu* vcpu = queue.first; vcpu; vcpu = vcpu->sched.next) {
        if (vcpu->domain.cap != 0 && budget_left(vcpu->domain) == 0)
            end = std::min(end, (now / cap_period + 1) * cap_period);
    }
    return end;
}

} // namespace

const SchedPolicy fair_policy{"weighted fair", enqueue, remove, pick, charge, preempts, slice_end};

} // namespace domus::hv
