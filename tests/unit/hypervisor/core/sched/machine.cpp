// Implements arch/iface for the scheduler's tests, and stand-ins for what it calls in other parts of the core.
#include "machine.hpp"

#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/teardown.hpp"
#include "hypervisor/core/trace.hpp"

#include <algorithm>
#include <stdexcept>

namespace domus::test {

Machine* machine = nullptr;

Machine::Machine(u32 count) : cpus(count) {
    machine = this;
    idle_domain_ = std::make_unique<Domain>(DomId(DOMID_IDLE));
    sched_start();
    for (u32 i = 0; i < count; ++i) {
        cpu_here = i;
        cpus[i].idle = std::make_unique<Vcpu>(*idle_domain_, VcpuId(i));
        cpus[i].current = cpus[i].idle.get();
        sched_add_idle(CpuId(i), *cpus[i].idle);
    }
    cpu_here = 0;
}

Machine::~Machine() {
    for (auto& domain : domains) {
        for (u32 i = 0; i < domain->max_vcpus; ++i) {
            stop_vcpu_timers(*domain->vcpus[i]);
            stop(*domain->vcpus[i], Stop::Dead);
        }
        for (Timer& timer : domain->watchdogs)
            disarm(timer);
    }
    advance(second / 10); // slice timers find nothing to do
    for (auto& domain : domains) {
        for (u32 i = 0; i < domain->max_vcpus; ++i) {
            delete domain->vcpus[i]->info;
            delete domain->vcpus[i];
        }
        delete domain->shared;
    }
    machine = nullptr;
}

Domain& Machine::make_domain(u32 vcpus, u32 weight, u32 cap) {
    auto domain = std::make_unique<Domain>(DomId(static_cast<u16>(domains.size() + 1)));
    domain->max_vcpus = vcpus;
    domain->weight = weight;
    domain->cap = cap;
    domain->shared = new shared_info_t{};
    for (u32 i = 0; i < vcpus; ++i) {
        auto* vcpu = new Vcpu(*domain, VcpuId(i));
        vcpu->info = new vcpu_info_t{};
        vcpu->runstate.state = RUNSTATE_offline;
        vcpu->runstate.state_entry_time = now;
        domain->vcpus[i] = vcpu;
        start_vcpu_timers(*vcpu);
        set_periodic_timer(*vcpu, 0);
        stop(*vcpu, Stop::DomainPaused);
    }
    domains.push_back(std::move(domain));
    return *domains.back();
}

void Machine::run(Domain& domain) {
    for (u32 i = 0; i < domain.max_vcpus; ++i)
        start(*domain.vcpus[i], Stop::Down);
    unpause_domain(domain);
}

void Machine::exit_path(u32 cpu) {
    cpu_here = cpu;
    for (int rounds = 0; cpus[cpu].pending || cpus[cpu].deadline <= now; ++rounds) {
        if (rounds == 1000)
            throw std::runtime_error("the exit path does not come to rest");
        cpus[cpu].pending = false;
        if (cpus[cpu].deadline <= now) {
            cpus[cpu].deadline = ~u64{0};
            run_due_timers();
        }
        Vcpu& from = *cpus[cpu].current;
        Vcpu& to = choose_next(from);
        if (&to == &from)
            continue;
        cpus[cpu].current = &to;
        from.running.store(false);
        if (!to.is_idle)
            switched_in(to);
    }
    if (held_locks != 0)
        throw std::runtime_error("a lock is still held after the exit path");
}

void Machine::exit_paths() {
    for (u32 round = 0; round < 2; ++round) {
        for (u32 cpu = 0; cpu < cpus.size(); ++cpu)
            exit_path(cpu);
    }
    cpu_here = 0;
}

void Machine::advance(u64 ns) {
    exit_paths();
    const u64 end = now + ns;
    while (now < end) {
        u64 next = end;
        for (const Cpu& cpu : cpus)
            next = std::min(next, cpu.deadline);
        now = std::max(now, next);
        exit_paths();
    }
}

void Machine::as(Vcpu& vcpu, const std::function<void()>& call) {
    for (u32 cpu = 0; cpu < cpus.size(); ++cpu) {
        if (cpus[cpu].current != &vcpu)
            continue;
        cpu_here = cpu;
        call();
        exit_paths();
        return;
    }
    throw std::runtime_error("that vcpu does not run");
}

} // namespace domus::test

namespace domus::hv {

using test::machine;

namespace arch {

CpuId this_cpu() {
    return CpuId(machine->cpu_here);
}
u32 cpu_count() {
    return static_cast<u32>(machine->cpus.size());
}
void relax() {
    throw std::runtime_error("spins for something that cannot happen here");
}
void rank_enter(Rank) {
    ++machine->held_locks;
}
void rank_leave(Rank) {
    --machine->held_locks;
}
Vcpu& current_vcpu() {
    return *machine->cpus[machine->cpu_here].current;
}
void kick(CpuId cpu) {
    machine->cpus.at(cpu.n).pending = true;
}
Nanoseconds now() {
    return Nanoseconds(machine->now);
}
void set_deadline(Nanoseconds at) {
    machine->cpus[machine->cpu_here].deadline = at.n;
}
u64 wall_clock_seconds_at_boot() {
    return 1'700'000'000;
}
TscScale tsc_scale() {
    return machine->scale;
}

usize copy_from_guest(void* to, Vaddr from, usize bytes) {
    for (usize i = 0; i < bytes; ++i) {
        if (!machine->mapped.contains((from.n + i) >> page_shift))
            return bytes - i;
        static_cast<u8*>(to)[i] = machine->guest[from.n + i];
    }
    return 0;
}
usize copy_to_guest(Vaddr to, const void* from, usize bytes) {
    const u8* source = static_cast<const u8*>(from);
    for (usize i = 0; i < bytes; ++i) {
        if (!machine->mapped.contains((to.n + i) >> page_shift))
            return bytes - i;
        machine->guest[to.n + i] = source[i];
    }
    machine->guest_writes.push_back({to.n, {source, source + bytes}});
    return 0;
}

} // namespace arch

// Stand-ins.
EventChannels::EventChannels(Domain& owner) : owner_(owner), state_(nullptr) {}
EventChannels::~EventChannels() = default;
void EventChannels::raise_virq(Vcpu& vcpu, u32 virq) {
    machine->virqs.push_back({&vcpu, virq});
    vcpu.info->evtchn_upcall_pending = 1;
    notify(vcpu);
}
Result<bool> EventChannels::is_pending(PortNo port) {
    if (port.n == 0 || port.n > 1000)
        return Err::Inval;
    if (machine->on_read_of_port)
        machine->on_read_of_port();
    return machine->pending_ports.contains(port.n);
}
GrantTable::GrantTable(Domain& owner) : owner_(owner), state_(nullptr) {}
GrantTable::~GrantTable() = default;

bool has_pending_event(const Vcpu& vcpu) {
    if (machine->before_pending_check)
        machine->before_pending_check();
    return vcpu.info->evtchn_upcall_pending && !vcpu.info->evtchn_upcall_mask;
}

constinit std::atomic<u32> unhooked_tables{0}; // no page tables here
void prepare_copy_slowly(u64, usize) {}
constinit std::atomic<Domain*> unreferenced_domains{nullptr};
void free_unreferenced_domains() {}
void put_domain(Domain&) {}
DomainRef first_domain() {
    return {};
}
DomainRef next_domain(const Domain&) {
    return {};
}
Result<DomainRef> find_target(Domain& caller, u16 id) {
    if (id == 77)
        return Err::Srch;
    return DomainRef(&caller);
}
void shut_down_domain(Domain&, u8 reason) {
    machine->shutdowns.push_back(reason);
}
void trace(TraceEvent, u64, u64, u64) {}
void log_line(Level, std::string_view) {}
void log_refusal(const Domain&, std::string_view) {}
void panic_text(std::string_view text) {
    throw std::runtime_error(std::string(text));
}

} // namespace domus::hv
