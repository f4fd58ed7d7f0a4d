// The stand-ins behind machine.hpp. Owner: the test that runs.
#include "tests/unit/hypervisor/core/events/machine.hpp"

#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/arch/iface/console.hpp"
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/core/domain_info.hpp"
#include "hypervisor/core/domain_list.hpp"
#include "hypervisor/core/extension_tables.hpp"
#include "hypervisor/core/frame_hooks.hpp"
#include "hypervisor/core/guest_context.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/teardown.hpp"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <sys/mman.h>

namespace domus::test {

Machine* machine = nullptr;

namespace {

struct Ram {
    // Shared, so that a page can be mapped a second time (tests/bus); zeroed by the kernel.
    u8* base = static_cast<u8*>(
        mmap(nullptr, ram_frames* page_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    std::vector<FrameInfo> infos{ram_frames};
};
Ram& ram() {
    static Ram all;
    return all;
}

std::vector<Rank> held;
Vcpu* running = nullptr;

} // namespace

Machine::Machine() {
    machine = this;
    static const bool started = [] {
        add_free_frames(Mfn(1), Mfn(ram_frames));
        return true;
    }();
    (void)started;
    free_before_ = free_frame_count();
    set_log_levels(Level::Debug, Level::Debug);
}

Machine::~Machine() {
    while (!domains_.empty())
        kill(*domains_.back());
    EXPECT_EQ(free_frame_count(), free_before_) << "memory was lost";
    EXPECT_TRUE(held.empty());
    machine = nullptr;
}

Domain& Machine::make_domain(u16 id, u32 vcpus, bool privileged) {
    Domain* d = make<Domain>(DomId(id));
    d->privileged = privileged;
    d->max_vcpus = vcpus;
    d->frames.unguarded().maximum = 4096;
    d->life.store(Life::Alive);
    if (!d->grants.start(8, 4, 2))
        throw std::runtime_error("grants.start");
    d->shared_info_frame = allocate_shared_frame(*d).value();
    d->shared = arch::frame_as<shared_info_t>(d->shared_info_frame);
    for (u32 i = 0; i < vcpus; ++i) {
        d->vcpus[i] = make<Vcpu>(*d, VcpuId(i));
        d->vcpus[i]->info = &d->shared->vcpu_info[i];
    }
    if (!enlist(*d))
        throw std::runtime_error("enlist");
    domains_.push_back(d);
    return *d;
}

void Machine::kill(Domain& d) {
    std::erase(domains_, &d);
    d.life.store(Life::Dying);
    d.events.close_all();
    Call none{*d.vcpus[0], d, {}};
    while (!d.grants.release_mappings(none))
        continue;
    // The page tables' part: entries that are left give their references back, like those of any table.
    std::erase_if(entries, [&](auto& entry) {
        if (entry.first >> 48 != d.id.n)
            return false;
        if (!(entry.second.flags & GNTMAP_readonly))
            put_type(Mfn(entry.second.frame));
        put_frame(Mfn(entry.second.frame));
        return true;
    });
    d.shared = nullptr;
    free_shared_frame(d, d.shared_info_frame);
    for (u64 i = 1; i < ram_frames; ++i) {
        if (frame_info(Mfn(i)).owner.load() == &d)
            (void)release_domain_frame(d, Mfn(i)); // an error: others still map it
    }
    if (&d == dom0())
        d.life.store(Life::Dead);
    running = nullptr;
    put_domain(d);
    reap_domains();
}

Mfn Machine::page(Domain& d) {
    return allocate_domain_frames(d, 0).value();
}

Call Machine::call(Domain& d, u32 vcpu) {
    running = d.vcpus[vcpu];
    return Call{*d.vcpus[vcpu], d, {}};
}

i64 Machine::events(Domain& d, u32 command, void* argument) {
    Call c = call(d);
    for (;;) {
        const auto result = event_channel_op(c, static_cast<i32>(command), reinterpret_cast<u64>(argument));
        if (result)
            return result.value();
        if (result.error() != Err::Restart)
            return minus(result.error());
        ++yields;
    }
}

i64 Machine::grants(Domain& d, u32 command, void* argument, u32 count) {
    Call c = call(d);
    c.args = {command, reinterpret_cast<u64>(argument), count, 0, 0, 0};
    for (;;) {
        const auto result = grant_table_op(c, static_cast<u32>(c.args[0]), c.args[1], static_cast<u32>(c.args[2]));
        if (result)
            return result.value();
        if (result.error() != Err::Restart)
            return minus(result.error());
        ++yields;
    }
}

u32 Machine::notified(const Vcpu& v) const {
    return static_cast<u32>(std::count(notifications.begin(), notifications.end(), &v));
}

} // namespace domus::test

namespace domus::hv {

using test::machine;
using test::ram;
using test::ram_frames;

void notify(Vcpu& v) {
    machine->notifications.push_back(&v);
}
u64 idle_time(CpuId) {
    return 5;
}
arch::CpuMask online_cpus() {
    return 1;
}
void destroy_guest_context(Vcpu&) {}
Result<i64> protect_entries(Call&, GuestPtr<void>) {
    return Err::NoSys;
}
Result<i64> map_entries(Call&, GuestPtr<void>) {
    return Err::NoSys;
}
Result<i64> pin_tables(Call&, GuestPtr<void>) {
    return Err::NoSys;
}
Result<i64> unpin_tables(Call&, GuestPtr<void>) {
    return Err::NoSys;
}
// No page tables here, so none is ever unhooked.
constinit std::atomic<u32> unhooked_tables{0};
void prepare_copy_slowly(u64, usize) {}

Result<void> validate_entries(Mfn, FrameType, u32&) {
    return {};
}
Result<void> release_entries(Mfn, FrameType, u32&) {
    return {};
}
void panic_text(std::string_view text) {
    throw std::runtime_error(std::string(text));
}
void fill_domain_info(Domain& d, xen_domctl_getdomaininfo& out) {
    std::memset(&out, 0, sizeof out);
    out.domain = d.id.n;
}
std::string_view hypercall_name(u32 number) {
    return number == __HYPERVISOR_event_channel_op ? "event_channel_op" : "";
}

// One entry per address and domain, as page tables hold it: the domain's number is put into the upper bits.
static u64 entry_key(const Domain& d, u64 address) {
    return u64{d.id.n} << 48 | (address & 0xffffffffffff);
}

Result<void> map_grant_pte(Domain& d, const GrantMapRequest& request) {
    if (machine->map_error != Err{})
        return machine->map_error;
    if (machine->entries.contains(entry_key(d, request.host_address)))
        return Err::Busy;
    machine->entries[entry_key(d, request.host_address)] = {request.frame.n, request.flags};
    return {};
}
Result<void> unmap_grant_pte(Domain& d, const GrantMapRequest& request) {
    const auto found = machine->entries.find(entry_key(d, request.host_address));
    if (found == machine->entries.end() || found->second.frame != request.frame.n ||
        (found->second.flags & GNTMAP_readonly) != (request.flags & GNTMAP_readonly))
        return Err::Inval;
    machine->entries.erase(found);
    return {};
}
Result<void> replace_grant_pte(Domain& d, const GrantMapRequest& request, u64 new_address) {
    if (new_address == 0)
        return Err::Inval;
    return unmap_grant_pte(d, request);
}

namespace arch {

u8* frame_pointer(Mfn m) {
    return ram().base + m.n * page_size;
}
Mfn frame_of_pointer(const void* p) {
    return Mfn((static_cast<const u8*>(p) - ram().base) / page_size);
}
void* frame_table_base() {
    return ram().infos.data();
}
u64 frame_limit() {
    return ram_frames;
}
void zero_frame(Mfn m) {
    std::memset(frame_pointer(m), 0, page_size);
}
void copy_frame(Mfn to, Mfn from) {
    std::memcpy(frame_pointer(to), frame_pointer(from), page_size);
}
usize copy_from_guest(void* to, Vaddr from, usize bytes) {
    if (from.n < page_size)
        return bytes;
    if (machine->before_guest_copy)
        machine->before_guest_copy();
    std::memcpy(to, reinterpret_cast<const void*>(from.n), bytes);
    return 0;
}
usize copy_to_guest(Vaddr to, const void* from, usize bytes) {
    if (to.n < page_size)
        return bytes;
    std::memcpy(reinterpret_cast<void*>(to.n), from, bytes);
    return 0;
}
void flush_all(CpuMask) {
    ++machine->flushes;
    if (machine->on_flush)
        machine->on_flush();
}
void flush_page(CpuMask, Vaddr) {
    ++machine->flushes;
}

CpuId this_cpu() {
    return CpuId(0);
}
u32 cpu_count() {
    return 1;
}
void relax() {
    throw std::runtime_error("deadlock: a lock is taken twice");
}
void rank_enter(Rank rank) {
    if (!test::held.empty() && test::held.back() >= rank)
        throw std::runtime_error("lock order broken");
    test::held.push_back(rank);
}
void rank_leave(Rank rank) {
    if (test::held.empty() || test::held.back() != rank)
        std::abort();
    test::held.pop_back();
}
Vcpu& current_vcpu() {
    if (!test::running)
        throw std::runtime_error("no vcpu runs");
    return *test::running;
}
void kick(CpuId) {}
void take_interrupts() {}
bool has_pending_work() {
    return machine->work_waits;
}
void reboot_machine() {
    throw std::runtime_error("reboot");
}
void panic_halt() {
    std::abort();
}

Nanoseconds now() {
    return Nanoseconds(machine->now);
}
u32 tsc_khz() {
    return 1'000'000;
}
void console_write(std::string_view bytes) {
    machine->printed += bytes;
}
GuestRegs& guest_regs(Vcpu& vcpu) {
    return vcpu.regs;
}
CpuidResult machine_cpuid(u32 leaf, u32) {
    return {leaf, leaf, leaf, leaf};
}

} // namespace arch
} // namespace domus::hv
