// Implements arch/iface and stands in for pv/, console and log, for the tests of this folder.
#include "world.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/frame_hooks.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/guest_context.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/memory_op.hpp"
#include "hypervisor/core/teardown.hpp"
#include "hypervisor/core/time.hpp"
#include "hypervisor/core/trace.hpp"
#include "hypervisor/pv/page_types.hpp"

#include <memory>

namespace domus::test {
namespace {

constexpr u64 frame_count = 2048;

struct Ram {
    Ram() : bytes(static_cast<u8*>(std::aligned_alloc(page_size, frame_count * page_size))), table(frame_count) {
        std::memset(bytes, 0, frame_count * page_size);
    }
    u8* bytes;
    std::vector<FrameInfo> table;
};
Ram& ram() {
    static Ram& one = *new Ram;
    return one;
}

void start_world() {
    add_free_frames(Mfn(16), Mfn(frame_count));
    sched_start();
    auto* idle_domain = new Domain(DomId(DOMID_IDLE));
    auto* idle = new Vcpu(*idle_domain, VcpuId(0));
    world().current = idle;
    sched_add_idle(CpuId(0), *idle);
    wall_clock_start();
    DomainParameters parameters;
    parameters.id = 0;
    parameters.privileged = true;
    parameters.max_vcpus = 2;
    const DomainRef made = create_domain(parameters).value();
    for (u32 i = 0; i < 2; ++i)
        EXPECT_TRUE(create_vcpu(*made, VcpuId(i)));
    start(*made->vcpus[0], Stop::Down);
    EXPECT_TRUE(unpause_by_controller(*made));
}

} // namespace

World& world() {
    static World& one = *new World;
    return one;
}

DomainTest::DomainTest() {
    static const bool once = (start_world(), true);
    (void)once;
    exit_path();
    world().refused_contexts = world().contexts_set = world().restarts = 0;
    world().yields_left = 0;
    world().log.clear();
    std::fill(world().window.begin(), world().window.end(), u8{0});
    EXPECT_EQ(world().current, dom0()->vcpus[0]);
    destroy_it(create()); // the first of a kind may make the heap grow
    frames_before_ = free_frame_count();
}

DomainTest::~DomainTest() {
    exit_path();
    EXPECT_EQ(free_frame_count(), frames_before_) << "memory was lost";
    EXPECT_EQ(world().held_locks, 0);
}

void DomainTest::exit_path() {
    for (int rounds = 0; rounds < 100 && (world().pending || world().deadline <= world().now); ++rounds) {
        world().pending = false;
        if (world().deadline <= world().now) {
            world().deadline = ~u64{0};
            run_due_timers();
        }
        Vcpu& from = *world().current;
        Vcpu& to = choose_next(from);
        world().current = &to;
        if (&from != &to)
            from.running.store(false);
    }
}

Result<i64> DomainTest::control(u32 command, u16 domid, xen_domctl_t& op) {
    op.cmd = command;
    op.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    op.domain = domid;
    for (;;) {
        const u64 at = put(op, 15);
        Call c = call();
        auto result = domctl(c, GuestPtr<xen_domctl_t>{at});
        op = get<xen_domctl_t>(15);
        if (result || result.error() != Err::Restart)
            return result;
        world().pending = world().interrupts_wait = false;
    }
}

u16 DomainTest::create(u32 vcpus) {
    xen_domctl_t op{};
    op.u.createdomain.max_vcpus = vcpus;
    op.u.createdomain.max_evtchn_port = 1023;
    op.u.createdomain.max_grant_frames = 4;
    op.u.createdomain.max_maptrack_frames = 4;
    op.u.createdomain.grant_opts = 2;
    const auto made = control(XEN_DOMCTL_createdomain, 0, op);
    EXPECT_TRUE(made) << static_cast<int>(made.error());
    const u16 id = op.domain;
    op = {};
    op.u.max_vcpus.max = vcpus;
    EXPECT_TRUE(control(XEN_DOMCTL_max_vcpus, id, op));
    op = {};
    op.u.max_mem.max_memkb = 64 << 10;
    EXPECT_TRUE(control(XEN_DOMCTL_max_mem, id, op));
    return id;
}

void DomainTest::destroy_it(u16 domid) {
    const auto done = control(XEN_DOMCTL_destroydomain, domid);
    EXPECT_TRUE(done) << static_cast<int>(done.error());
}

Mfn DomainTest::give_frames(u16 domid, u32 count) {
    const DomainRef d = domain(domid);
    const Mfn first = allocate_domain_frames(*d, 0).value();
    for (u32 i = 1; i < count; ++i)
        EXPECT_TRUE(allocate_domain_frames(*d, 0));
    return first;
}

} // namespace domus::test

namespace domus::hv {

using test::world;

namespace arch {

CpuId this_cpu() {
    return CpuId(0);
}
u32 cpu_count() {
    return 1;
}
void relax() {
    throw std::runtime_error("spins");
}
void rank_enter(Rank) {
    ++world().held_locks;
}
void rank_leave(Rank) {
    --world().held_locks;
}
Vcpu& current_vcpu() {
    return *world().current;
}
void kick(CpuId) {
    world().pending = true;
}
void take_interrupts() {
    if (world().yields_left != 0) {
        --world().yields_left;
        world().interrupts_wait = true;
    }
}
bool has_pending_work() {
    return world().interrupts_wait;
}
void panic_halt() {
    throw test::MachineEnds{"halt"};
}
void power_off() {
    throw test::MachineEnds{"off"};
}
void reboot_machine() {
    throw test::MachineEnds{"reboot"};
}

Nanoseconds now() {
    return Nanoseconds(world().now);
}
void set_deadline(Nanoseconds at) {
    world().deadline = at.n;
}
u64 wall_clock_seconds_at_boot() {
    return 1'700'000'000;
}
TscScale tsc_scale() {
    return {.tsc_timestamp = 1, .system_time = 0, .tsc_to_system_mul = 1u << 31, .tsc_shift = 1};
}
u32 tsc_khz() {
    return 1'000'000;
}

u8* frame_pointer(Mfn frame) {
    return test::ram().bytes + frame.n * page_size;
}
Mfn frame_of_pointer(const void* p) {
    return Mfn(static_cast<u64>(static_cast<const u8*>(p) - test::ram().bytes) / page_size);
}
void* frame_table_base() {
    return test::ram().table.data();
}
u64 frame_limit() {
    return test::frame_count;
}
void zero_frame(Mfn frame) {
    std::memset(frame_pointer(frame), 0, page_size);
}
void copy_frame(Mfn to, Mfn from) {
    std::memcpy(frame_pointer(to), frame_pointer(from), page_size);
}
void flush_page(CpuMask, Vaddr) {}
void flush_all(CpuMask) {}
void write_m2p(Mfn, u64) {}
u64 read_m2p(Mfn) {
    return 0;
}
u64 read_entry(Mfn table, u32 index) {
    return frame_as<u64>(table)[index];
}
void write_entry(Mfn table, u32 index, u64 value) {
    frame_as<u64>(table)[index] = value;
}

namespace {
u8* in_window(u64 at, usize bytes) {
    const bool inside = at >= test::window_base && at - test::window_base < test::window_size &&
                        bytes <= test::window_size - (at - test::window_base);
    return inside ? &world().window[at - test::window_base] : nullptr;
}
} // namespace
usize copy_from_guest(void* to, Vaddr from, usize bytes) {
    const u8* source = bytes ? in_window(from.n, bytes) : nullptr;
    if (!source)
        return bytes;
    std::memcpy(to, source, bytes);
    return 0;
}
usize copy_to_guest(Vaddr to, const void* from, usize bytes) {
    u8* target = bytes ? in_window(to.n, bytes) : nullptr;
    if (!target)
        return bytes;
    std::memcpy(target, from, bytes);
    return 0;
}

} // namespace arch

// --- pv's part ---
Result<void> create_guest_context(Vcpu& vcpu) {
    vcpu.fpu_area = arch::frame_pointer(TRY(allocate_frames()));
    return {};
}
void destroy_guest_context(Vcpu& vcpu) {
    free_frames(arch::frame_of_pointer(vcpu.fpu_area));
}
Result<void> release_guest_context(Call&, Vcpu&) {
    if (world().restarts == 0)
        return {};
    --world().restarts;
    return Err::Restart;
}
Result<void> set_guest_context(Vcpu& vcpu, const vcpu_guest_context_t& context) {
    EXPECT_FALSE(vcpu.running.load()) << "its state was changed while it ran";
    if (world().refused_contexts > 0) {
        --world().refused_contexts;
        return Err::Inval;
    }
    ++world().contexts_set;
    vcpu.regs.rip = context.user_regs.rip;
    return {};
}
void get_guest_context(const Vcpu& vcpu, vcpu_guest_context_t& context) {
    std::memset(&context, 0, sizeof context);
    context.user_regs.rip = vcpu.regs.rip;
}
void fill_hypercall_page(u8* page) {
    std::memset(page, 0xcc, 64);
}
// No page tables here, so none is ever unhooked.
constinit std::atomic<u32> unhooked_tables{0};
void prepare_copy_slowly(u64, usize) {}
void end_unhooking(Domain&) {}

Result<void> validate_entries(Mfn, FrameType, u32& progress) {
    progress = 512;
    return {};
}
Result<void> release_entries(Mfn, FrameType, u32& progress) {
    progress = 0;
    return {};
}
bool take_pin(Mfn) {
    return false;
}
void free_memory_map(Domain&) {}
Result<void> map_grant_pte(Domain&, const GrantMapRequest&) {
    return Err::Inval;
}
Result<void> unmap_grant_pte(Domain&, const GrantMapRequest&) {
    return Err::Inval;
}
Result<void> replace_grant_pte(Domain&, const GrantMapRequest&, u64) {
    return Err::Inval;
}

// --- log ---
void log_line(Level, std::string_view text) {
    world().log.emplace_back(text);
}
void log_guest_line(Level, const Domain&, std::string_view text) {
    world().log.emplace_back(text);
}
void log_refusal(const Domain&, std::string_view text) {
    world().log.emplace_back(text);
}
void panic_text(std::string_view text) {
    throw std::runtime_error("panic: " + std::string(text));
}
void trace(TraceEvent, u64, u64, u64) {}
std::string_view hypercall_name(u32) {
    return {};
}

} // namespace domus::hv
