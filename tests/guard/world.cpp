// Domains come and go, and hypercalls stop and go on. See world.hpp.
#include "tests/guard/world.hpp"

#include "hypervisor/abi/domus.h"
#include "hypervisor/core/extension.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/teardown.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/table_ways.hpp"
#include "hypervisor/pv/unhooked.hpp"

#include <cstdio>
#include <cstdlib>

namespace domus::guard {
namespace {

constexpr u64 table_flags = entry::present | entry::writable | entry::user | entry::accessed | entry::dirty;
constexpr u64 read_flags = entry::present | entry::user | entry::accessed;

// dom0 is made once: it makes the calls that destroy the others.
Domain& controller() {
    static DomainRef& one = *[] {
        DomainParameters parameters;
        parameters.id = 0;
        parameters.privileged = true;
        auto* kept = new DomainRef(create_domain(parameters).value());
        create_vcpu(**kept, VcpuId(0)).value();
        return kept;
    }();
    return *one;
}

} // namespace

Vcpu& World::nobody() {
    static Vcpu& one = *new Vcpu(*new Domain(DomId(DOMID_IDLE)), VcpuId(63));
    return one;
}

World::World(bool remembers) : talks_(std::getenv("GUARD_TALKS") != nullptr) {
    m_.remembers = remembers;
    m_.yield_every = 0;
    const char* unhook = std::getenv("GUARD_UNHOOK");
    const char* large = std::getenv("GUARD_SUPERPAGES");
    model_.superpages = !large || std::strtoul(large, nullptr, 0) != 0;
    set_extension_features(model_.superpages ? ~u32{0} : ~DOMUS_FEATURE_superpages);
    set_unhook_after(unhook ? static_cast<u32>(std::strtoul(unhook, nullptr, 0)) : 1);
    const char* ways = std::getenv("GUARD_TABLES");
    table_ways = ways ? static_cast<u32>(std::strtoul(ways, nullptr, 0)) : ~u32{0};
    static_cast<void>(controller());
    for (u32 cpu = 0; cpu < fake::cpus; ++cpu) {
        m_.turn(cpu);
        m_.current(nobody());
    }
    create(0); // the first of a kind may make the heap grow
    destroy(0);
    while (slots_[0].dying)
        destroy(0);
    free_before_ = free_frame_count();
    for (u32 i = 0; i < 3; ++i)
        create(i);
}

World::~World() {
    m_.remembers = true;
}

void World::act_as(u32 slot, u32 vcpu) {
    slot_ = slot;
    vcpu_ = vcpu;
    Vcpu& v = *slots_[slot].domain->vcpus[vcpu];
    m_.turn(v.processor.load() % fake::cpus);
    turn_to(v);
}

// As the hypervisor's context switch does.
void World::turn_to(Vcpu& v) {
    if (&m_.current() == &v)
        return;
    prepare_switch_from(m_.current());
    m_.current(v);
}

// ISOLATION: a domain that does not run has no table out of force.
void World::check_unhooked() {
    const u32 cpu_before = m_.this_cpu();
    for (const Slot& s : slots_) {
        if (!s.domain || !s.domain->has_unhooked.load())
            continue;
        bool runs = false;
        for (u32 cpu = 0; cpu < fake::cpus; ++cpu) {
            m_.turn(cpu);
            runs = runs || &m_.current().domain == &*s.domain;
        }
        if (!runs)
            model_.fail("a table is unhooked while no vcpu of its domain runs");
    }
    m_.turn(cpu_before);
}

void World::create(u32 slot) {
    m_.yield_every = 0;
    DomainParameters parameters;
    parameters.max_vcpus = vcpus_each;
    parameters.privileged = slot == 0;
    Slot& s = slots_[slot];
    auto made = create_domain(parameters);
    if (!made)
        return;
    s.domain = std::move(made.value());
    Domain& d = *s.domain;
    const u64 block = slot < 2 ? 1024 : 0;
    d.frames.with([&](OwnedFrames& list) { list.maximum = block + first_frames + 24; });
    for (u32 i = 0; i < vcpus_each; ++i) {
        if (!create_vcpu(d, VcpuId(i)))
            return model_.fail("a vcpu cannot be made");
        d.vcpus[i]->processor.store((slot * vcpus_each + i) % fake::cpus);
    }
    if (block != 0) { // first, so that it comes last in the domain's list
        if (const auto got = allocate_domain_frames(d, 10))
            s.block = got.value();
    }
    std::vector<Mfn> f;
    for (u64 i = 0; i < first_frames; ++i) {
        f.push_back(allocate_domain_frames(d, 0).value());
        arch::zero_frame(f.back());
        m_.m2p[f.back().n] = i;
    }
    // Two trees: frame 0 an L4 that maps all frames from slot 272 on (its own tables read-only) and a user half at 0;
    // frame 1 an L4 for user mode with that half alone.
    const auto at = [&](u32 frame, u32 index) -> u64& { return m_.table(f[frame])[index]; };
    at(0, 272) = entry::make(f[2], table_flags);
    at(2, 0) = entry::make(f[3], table_flags);
    at(3, 0) = entry::make(f[4], table_flags);
    at(0, 0) = at(1, 0) = entry::make(f[5], table_flags);
    at(5, 0) = entry::make(f[6], table_flags);
    at(6, 0) = entry::make(f[7], table_flags);
    at(6, 1) = entry::make(f[8], table_flags);
    for (u32 i = 0; i < first_frames; ++i)
        at(4, i) = entry::make(f[i], i < 9 ? read_flags : table_flags);
    for (u32 i = 0; i < 8; ++i)
        at(7, i) = at(8, i) = entry::make(f[12 + i], i % 2 ? read_flags : table_flags);
    s.grant_frame = d.grants.frame_for_guest(0, false).value();
    d.life = Life::Alive;
    model_.parties[slot] = &d;
    model_.shared[s.grant_frame.n] = static_cast<u8>(slot);
    for (u32 i = 0; i < vcpus_each; ++i) {
        act_as(slot, i);
        mmuext_op_t ops[2] = {};
        ops[0].cmd = MMUEXT_NEW_BASEPTR;
        ops[0].arg1.mfn = f[0].n;
        ops[1].cmd = MMUEXT_NEW_USER_BASEPTR;
        ops[1].arg1.mfn = f[1].n;
        std::memcpy(m_.window(area(), sizeof ops), ops, sizeof ops);
        if (call(__HYPERVISOR_mmuext_op, {area(), 2, 0, DOMID_SELF}) != 0)
            model_.fail("a new domain's tables are refused");
    }
}

void World::idle_cpus_of(const Domain& d) {
    for (u32 cpu = 0; cpu < fake::cpus; ++cpu) {
        m_.turn(cpu);
        if (&m_.current().domain == &d)
            turn_to(nobody());
    }
    m_.turn(0);
}

// Begin to destroy it, or go on.
void World::destroy(u32 slot) {
    Slot& s = slots_[slot];
    model_.dies(slot);
    s.dying = true;
    idle_cpus_of(*s.domain);
    m_.turn(0);
    m_.current(*controller().vcpus[0]);
    Call call{*controller().vcpus[0], controller(), {}};
    const auto done = destroy_domain(call, *s.domain);
    m_.current(nobody());
    if (!done && done.error() == Err::Restart)
        return;
    if (!done)
        model_.fail("a domain cannot be destroyed");
    forget(slot);
}

void World::forget(u32 slot) {
    const u16 id = slots_[slot].domain->id.n;
    std::erase_if(model_.rights, [&](const auto& right) { return right.first.first == id; });
    std::erase_if(held_, [&](const auto& held) { return held.first.first == slot; });
    for (auto& [key, held] : held_) {
        if (held.granter == slot)
            held.granter = controller_slot; // whoever comes after is somebody else
    }
    slots_[slot] = Slot{};
    reap_domains();
}

i64 World::call(u32 number, std::array<u64, 6> args) {
    me().pending[vcpu_] = {true, number, args};
    return go_on();
}

i64 World::go_on() {
    Pending& p = me().pending[vcpu_];
    Call call{vcpu(), domain(), p.args};
    const auto result = dispatch(p.number, call);
    if (talks_)
        std::fprintf(stderr, "step %llu: d%d v%u: %s(%llx, %llx, %llx, %llx) = %lld\n",
                     static_cast<unsigned long long>(steps_), domain().id.n, vcpu_,
                     std::string(hypercall_name(p.number)).c_str(), static_cast<unsigned long long>(p.args[0]),
                     static_cast<unsigned long long>(p.args[1]), static_cast<unsigned long long>(p.args[2]),
                     static_cast<unsigned long long>(p.args[3]),
                     static_cast<long long>(result ? result.value() : -static_cast<i64>(result.error())));
    note_grants(p);
    if (!result && result.error() == Err::Restart) {
        p.args = call.args;
        return waiting;
    }
    p.waits = false;
    return result ? result.value() : -static_cast<i64>(result.error());
}

bool World::run(const Step& step) {
    using Act = void (World::*)(Choices&);
    // By weight.
    static constexpr Act acts[] = {
        &World::update_list, &World::update_list, &World::update_list, &World::update_list, &World::extension_op,
        &World::ext_list,    &World::ext_list,    &World::ext_list,    &World::ext_list,    &World::va_mapping,
        &World::va_mapping,  &World::multicall,   &World::multicall,   &World::reservation, &World::reservation,
        &World::exchange,    &World::grant,       &World::grant,       &World::grant,       &World::grant,
        &World::guest_store, &World::guest_store, &World::guest_store, &World::guest_store, &World::stray_write,
        &World::stray_write, &World::stray_write, &World::touch,       &World::descriptors, &World::switch_context,
        &World::access_bits, &World::pin_fresh,   &World::pin_fresh,   &World::grow_grants,
    };
    ++steps_;
    m_.yield_every = step.preempt % 4 == 0 ? 1 + step.preempt / 4 % 3 : 0;
    Choices choices(step);
    const u32 slot = step.who % slots, v = step.who / slots % vcpus_each;
    if (!slots_[slot].domain) {
        if (step.who >= 128)
            create(slot);
    } else if (slots_[slot].dying || (step.what == 255 && step.who >= 224)) {
        destroy(slot);
    } else {
        act_as(slot, v);
        // A hypercall that stopped goes on, or its vcpu does something else and never comes back to it.
        if (me().pending[v].waits && step.who < 192)
            go_on();
        else if (step.preempt % 16 == 15) // by a byte of its own, so that kept sequences mean what they did
            others(choices);
        else if (step.preempt % 16 == 7)
            grant_tables(choices);
        else if (step.preempt % 16 == 12)
            multicall_with_unmaps(choices);
        else if (step.preempt % 8 == 3)
            superpages(choices);
        else
            (this->*acts[step.what % std::size(acts)])(choices);
    }
    m_.yield_every = 0;
    model_.check();
    check_unhooked();
    if (steps_ % counts_every == 0)
        model_.counts();
    return model_.broken().empty();
}

bool World::end() {
    m_.yield_every = 3;
    for (u32 i = 0; i < slots; ++i) {
        while (slots_[i].domain)
            destroy(i);
    }
    m_.yield_every = 0;
    model_.check();
    model_.counts();
    reap_domains();
    if (free_frame_count() != free_before_)
        model_.fail(std::to_string(static_cast<i64>(free_before_ - free_frame_count())) +
                    " frames did not come back when all domains died");
    for (const auto& past : m_.history()) {
        if (!past.safe())
            model_.fail("an entry of frame " + std::to_string(past.table.n) + " " + past.why);
    }
    m_.forget_history();
    return model_.broken().empty();
}

} // namespace domus::guard
