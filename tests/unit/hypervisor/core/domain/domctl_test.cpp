// Every control operation: what it does, and what it refuses. Callers are privileged, yet may be buggy.
#include "world.hpp"

#include "hypervisor/core/frame_table.hpp"

#include <random>

namespace domus::test {
namespace {

struct DomctlTest : DomainTest {
    DomctlTest() : id(create(2)) {}
    ~DomctlTest() override { destroy_it(id); }
    Result<i64> create_with(const std::function<void(xen_domctl_createdomain&)>& change) {
        xen_domctl_t op{};
        op.u.createdomain.max_vcpus = 1;
        op.u.createdomain.max_evtchn_port = 1023;
        op.u.createdomain.max_grant_frames = -1;
        op.u.createdomain.max_maptrack_frames = -1;
        op.u.createdomain.grant_opts = 1;
        change(op.u.createdomain);
        auto result = control(XEN_DOMCTL_createdomain, 0, op);
        if (result)
            destroy_it(op.domain);
        return result;
    }
    Result<i64> context_op(u32 command, u32 vcpu, u64 at) {
        xen_domctl_t op{};
        op.u.vcpucontext.vcpu = vcpu;
        op.u.vcpucontext.ctxt.p = reinterpret_cast<vcpu_guest_context_t*>(at);
        return control(command, id, op);
    }
    Result<i64> affinity(u32 command, u32 vcpu, u32 flags, u64 map, u32 bits) {
        xen_domctl_t op{};
        op.u.vcpuaffinity.vcpu = vcpu;
        op.u.vcpuaffinity.flags = flags;
        op.u.vcpuaffinity.cpumap_hard.bitmap.p = reinterpret_cast<u8*>(map);
        op.u.vcpuaffinity.cpumap_hard.nr_bits = bits;
        op.u.vcpuaffinity.cpumap_soft = op.u.vcpuaffinity.cpumap_hard;
        return control(command, id, op);
    }
    u16 id;
};

TEST_F(DomctlTest, VersionPrivilegeAndUnknown) {
    xen_domctl_t op{};
    op.cmd = XEN_DOMCTL_getdomaininfo;
    op.interface_version = 0x14;
    Call c = call();
    EXPECT_EQ(domctl(c, GuestPtr<xen_domctl_t>{put(op)}).error(), Err::Access);
    EXPECT_EQ(domctl(c, GuestPtr<xen_domctl_t>{0xdead0000}).error(), Err::Fault);
    EXPECT_EQ(domctl(c, GuestPtr<xen_domctl_t>{~u64{0} - 4}).error(), Err::Fault);
    EXPECT_EQ(control(9999, id).error(), Err::NoSys);
    EXPECT_EQ(control(XEN_DOMCTL_soft_reset, id).error(), Err::NoSys);
    EXPECT_EQ(control(XEN_DOMCTL_pausedomain, 4711).error(), Err::Srch);
    const DomainRef guest = domain(id);
    Call from_guest{*guest->vcpus[0], *guest, {}};
    for (u32 command = 0; command < 100; ++command) {
        op.cmd = command;
        op.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
        EXPECT_EQ(domctl(from_guest, GuestPtr<xen_domctl_t>{put(op)}).error(), Err::Perm) << command;
    }
}

TEST_F(DomctlTest, CreateRefusesWhatIsNotOffered) {
    EXPECT_TRUE(create_with([](auto&) {}));
    EXPECT_EQ(create_with([](auto& w) { w.flags = XEN_DOMCTL_CDF_hvm; }).error(), Err::Inval);
    ASSERT_FALSE(world().log.empty());
    EXPECT_NE(world().log.back().find("paravirtual"), std::string::npos) << "and says why";
    EXPECT_EQ(create_with([](auto& w) { w.flags = XEN_DOMCTL_CDF_hap; }).error(), Err::Inval);
    EXPECT_EQ(create_with([](auto& w) { w.flags = XEN_DOMCTL_CDF_iommu; }).error(), Err::Inval);
    EXPECT_EQ(create_with([](auto& w) { w.flags = 0x80000000; }).error(), Err::Inval);
    EXPECT_EQ(create_with([](auto& w) { w.iommu_opts = 1; }).error(), Err::Inval);
    EXPECT_EQ(create_with([](auto& w) { w.vmtrace_size = 4096; }).error(), Err::Inval);
    EXPECT_EQ(create_with([](auto& w) { w.arch.emulation_flags = XEN_X86_EMU_ALL; }).error(), Err::Inval);
    EXPECT_EQ(create_with([](auto& w) { w.arch.misc_flags = 2; }).error(), Err::Inval);
    EXPECT_EQ(create_with([](auto& w) { w.grant_opts = 0x12; }).error(), Err::Inval);
    EXPECT_EQ(create_with([](auto& w) { w.cpupool_id = 3; }).error(), Err::Inval);
    EXPECT_EQ(create_with([](auto& w) { w.max_vcpus = 0; }).error(), Err::Inval);
    EXPECT_EQ(create_with([](auto& w) { w.max_vcpus = ~0u; }).error(), Err::Inval);
}

TEST_F(DomctlTest, CreateGivesTheNumberAskedFor) {
    xen_domctl_t op{};
    op.u.createdomain.max_vcpus = 1;
    op.u.createdomain.grant_opts = 1;
    op.u.createdomain.max_grant_frames = op.u.createdomain.max_maptrack_frames = -1;
    ASSERT_TRUE(control(XEN_DOMCTL_createdomain, 777, op));
    EXPECT_EQ(op.domain, 777);
    EXPECT_EQ(control(XEN_DOMCTL_createdomain, 777, op).error(), Err::Exist);
    destroy_it(777);
}

TEST_F(DomctlTest, InfoTellsStateAndFindsTheNextDomain) {
    xen_domctl_t op{};
    ASSERT_TRUE(control(XEN_DOMCTL_getdomaininfo, 1, op));
    EXPECT_EQ(op.domain, id) << "the first domain of that number or higher";
    const auto& info = op.u.getdomaininfo;
    EXPECT_EQ(info.domain, id);
    EXPECT_EQ(info.flags, u32{XEN_DOMINF_paused | XEN_DOMINF_blocked});
    EXPECT_EQ(info.max_vcpu_id, 1u);
    EXPECT_EQ(info.nr_online_vcpus, 0u);
    EXPECT_EQ(info.max_pages, u64{64 << 20} >> 12);
    EXPECT_EQ(info.shared_info_frame, domain(id)->shared_info_frame.n);
    EXPECT_EQ(control(XEN_DOMCTL_getdomaininfo, static_cast<u16>(id + 1)).error(), Err::Srch);
    ASSERT_TRUE(control(XEN_DOMCTL_getdomaininfo, 0, op));
    EXPECT_EQ(op.domain, 0);
    EXPECT_TRUE(op.u.getdomaininfo.flags & XEN_DOMINF_running);
    EXPECT_FALSE(op.u.getdomaininfo.flags & XEN_DOMINF_paused);
}

TEST_F(DomctlTest, PausesCountAndDoNotGoBelowZero) {
    EXPECT_TRUE(control(XEN_DOMCTL_pausedomain, id));
    EXPECT_TRUE(control(XEN_DOMCTL_unpausedomain, id));
    EXPECT_NE(domain(id)->pause_count, 0u) << "the creation's own pause is still there";
    EXPECT_TRUE(control(XEN_DOMCTL_unpausedomain, id));
    EXPECT_EQ(domain(id)->pause_count, 0u);
    EXPECT_EQ(control(XEN_DOMCTL_unpausedomain, id).error(), Err::Inval);
    EXPECT_EQ(domain(id)->pause_count, 0u);
    EXPECT_EQ(control(XEN_DOMCTL_pausedomain, 0).error(), Err::Inval) << "the caller itself";
}

TEST_F(DomctlTest, VcpuContexts) {
    const u64 at = put(vcpu_guest_context_t{}, 4);
    EXPECT_EQ(context_op(XEN_DOMCTL_getvcpucontext, 0, at).error(), Err::NoData) << "not set yet";
    vcpu_guest_context_t context{};
    context.user_regs.rip = 0x1234;
    context.flags = VGCF_online;
    put(context, 4);
    EXPECT_EQ(context_op(XEN_DOMCTL_setvcpucontext, 2, at).error(), Err::Inval);
    EXPECT_EQ(context_op(XEN_DOMCTL_setvcpucontext, ~0u, at).error(), Err::Inval);
    EXPECT_EQ(context_op(XEN_DOMCTL_setvcpucontext, 0, 0).error(), Err::Inval);
    EXPECT_EQ(context_op(XEN_DOMCTL_setvcpucontext, 0, 0xdead0000).error(), Err::Fault);
    world().refused_contexts = 1;
    EXPECT_EQ(context_op(XEN_DOMCTL_setvcpucontext, 0, at).error(), Err::Inval);
    EXPECT_FALSE(domain(id)->vcpus[0]->initialised);
    EXPECT_EQ(domain(id)->pause_count, 1u) << "paused and unpaused again, refused or not";
    std::memset(domain(id)->shared, 0, sizeof(shared_info_t)); // builders do
    EXPECT_TRUE(context_op(XEN_DOMCTL_setvcpucontext, 0, at));
    EXPECT_TRUE(domain(id)->vcpus[0]->initialised);
    EXPECT_EQ(domain(id)->vcpus[0]->sched.stops, bit_of(Stop::DomainPaused));
    EXPECT_EQ(domain(id)->shared->wc_sec, 1'700'000'000u) << "the wall clock is written anew";
    EXPECT_TRUE(context_op(XEN_DOMCTL_getvcpucontext, 0, at));
    EXPECT_EQ(get<vcpu_guest_context_t>(4).user_regs.rip, 0x1234u);
    EXPECT_TRUE(get<vcpu_guest_context_t>(4).flags & VGCF_online);
}

TEST_F(DomctlTest, MaxVcpus) {
    xen_domctl_t op{};
    op.u.max_vcpus.max = 2;
    EXPECT_TRUE(control(XEN_DOMCTL_max_vcpus, id, op)) << "asking twice is harmless";
    op.u.max_vcpus.max = 3;
    EXPECT_EQ(control(XEN_DOMCTL_max_vcpus, id, op).error(), Err::Inval);
    op.u.max_vcpus.max = 2;
    EXPECT_EQ(control(XEN_DOMCTL_max_vcpus, 0, op).error(), Err::Inval);
}

TEST_F(DomctlTest, VcpuInfo) {
    xen_domctl_t op{};
    op.u.getvcpuinfo.vcpu = 1;
    ASSERT_TRUE(control(XEN_DOMCTL_getvcpuinfo, id, op));
    EXPECT_FALSE(op.u.getvcpuinfo.online);
    op.u.getvcpuinfo.vcpu = 0;
    ASSERT_TRUE(control(XEN_DOMCTL_getvcpuinfo, 0, op));
    EXPECT_TRUE(op.u.getvcpuinfo.online && op.u.getvcpuinfo.running);
    op.u.getvcpuinfo.vcpu = 99;
    EXPECT_EQ(control(XEN_DOMCTL_getvcpuinfo, id, op).error(), Err::Inval);
}

TEST_F(DomctlTest, Affinity) {
    const u64 map = put(u64{1}, 4);
    const u32 hard = XEN_VCPUAFFINITY_HARD, soft = XEN_VCPUAFFINITY_SOFT;
    EXPECT_TRUE(affinity(XEN_DOMCTL_setvcpuaffinity, 0, hard, map, 8));
    EXPECT_EQ(domain(id)->vcpus[0]->sched.affinity, 1u);
    EXPECT_TRUE(affinity(XEN_DOMCTL_setvcpuaffinity, 0, soft, map, 8));
    EXPECT_EQ(affinity(XEN_DOMCTL_setvcpuaffinity, 0, 0, map, 8).error(), Err::Inval);
    EXPECT_EQ(affinity(XEN_DOMCTL_setvcpuaffinity, 0, 8, map, 8).error(), Err::Inval);
    EXPECT_EQ(affinity(XEN_DOMCTL_setvcpuaffinity, 5, hard, map, 8).error(), Err::Inval);
    EXPECT_EQ(affinity(XEN_DOMCTL_setvcpuaffinity, 0, hard, 0xdead0000, 8).error(), Err::Fault);
    put(u64{2}, 4);
    EXPECT_EQ(affinity(XEN_DOMCTL_setvcpuaffinity, 0, hard, map, 8).error(), Err::Inval) << "no such CPU";
    EXPECT_EQ(affinity(XEN_DOMCTL_setvcpuaffinity, 0, hard, map, 1).error(), Err::Inval) << "bit 1 is beyond the map";
    EXPECT_EQ(affinity(XEN_DOMCTL_setvcpuaffinity, 0, hard, map, 0).error(), Err::Inval);
    EXPECT_EQ(domain(id)->vcpus[0]->sched.affinity, 1u);
    std::memset(&world().window[0x8000], 0xee, 64);
    EXPECT_TRUE(affinity(XEN_DOMCTL_getvcpuaffinity, 0, hard, map, 200));
    EXPECT_EQ(world().window[0x8000], 1);
    for (int i = 1; i < 25; ++i)
        EXPECT_EQ(world().window[0x8000 + i], 0) << "the whole map is written";
    EXPECT_EQ(world().window[0x8000 + 25], 0xee) << "and not more";
    EXPECT_EQ(affinity(XEN_DOMCTL_getvcpuaffinity, 0, hard, map, ~0u).error(), Err::TooBig);
    EXPECT_EQ(affinity(XEN_DOMCTL_getvcpuaffinity, 0, 0, map, 8).error(), Err::Inval);
}

TEST_F(DomctlTest, Scheduler) {
    xen_domctl_t op{};
    auto& s = op.u.scheduler_op;
    s.sched_id = XEN_SCHEDULER_CREDIT;
    s.cmd = XEN_DOMCTL_SCHEDOP_putinfo;
    s.u.credit = {.weight = 512, .cap = 150};
    EXPECT_TRUE(control(XEN_DOMCTL_scheduler_op, id, op));
    s.u.credit = {.weight = 0, .cap = 0xffff};
    EXPECT_TRUE(control(XEN_DOMCTL_scheduler_op, id, op)) << "leave both as they are";
    s.sched_id = XEN_SCHEDULER_CREDIT2;
    s.cmd = XEN_DOMCTL_SCHEDOP_getinfo;
    ASSERT_TRUE(control(XEN_DOMCTL_scheduler_op, id, op));
    EXPECT_EQ(s.u.credit2.weight, 512);
    EXPECT_EQ(s.u.credit2.cap, 150);
    s.cmd = XEN_DOMCTL_SCHEDOP_putinfo;
    s.u.credit2 = {.weight = 100, .cap = 201};
    EXPECT_EQ(control(XEN_DOMCTL_scheduler_op, id, op).error(), Err::Inval) << "more than two vcpus can use";
    EXPECT_EQ(domain(id)->weight, 512u) << "refused as a whole";
    s.cmd = XEN_DOMCTL_SCHEDOP_getvcpuinfo;
    EXPECT_EQ(control(XEN_DOMCTL_scheduler_op, id, op).error(), Err::Inval);
    s.sched_id = XEN_SCHEDULER_RTDS;
    EXPECT_EQ(control(XEN_DOMCTL_scheduler_op, id, op).error(), Err::Inval);
}

TEST_F(DomctlTest, HypercallPage) {
    const Mfn frame = give_frames(id, 1);
    xen_domctl_t op{};
    op.u.hypercall_init.gmfn = frame.n;
    EXPECT_TRUE(control(XEN_DOMCTL_hypercall_init, id, op));
    EXPECT_EQ(*arch::frame_pointer(frame), 0xcc);
    for (u64 bad : {u64{0}, u64{3}, u64{2048}, ~u64{0}, domain(0)->shared_info_frame.n}) {
        op.u.hypercall_init.gmfn = bad;
        EXPECT_EQ(control(XEN_DOMCTL_hypercall_init, id, op).error(), Err::Access) << bad;
    }
    ASSERT_TRUE(get_frame_and_type(frame, *domain(id), FrameType::L1)); // now a page table
    op.u.hypercall_init.gmfn = frame.n;
    EXPECT_EQ(control(XEN_DOMCTL_hypercall_init, id, op).error(), Err::Access);
    put_frame_and_type(frame);
}

TEST_F(DomctlTest, FrameTypes) {
    const Mfn frame = give_frames(id, 1);
    const Mfn table = give_frames(id, 1);
    ASSERT_TRUE(get_frame_and_type(table, *domain(id), FrameType::L2));
    const u64 frames[] = {frame.n, table.n, 1, ~u64{0}, domain(0)->shared_info_frame.n};
    const u64 at = put(frames, 4);
    xen_domctl_t op{};
    op.u.getpageframeinfo3.num = 5;
    op.u.getpageframeinfo3.array.p = reinterpret_cast<xen_pfn_t*>(at);
    ASSERT_TRUE(control(XEN_DOMCTL_getpageframeinfo3, id, op));
    const auto kinds = get<std::array<u64, 5>>(4);
    EXPECT_EQ(kinds[0], XEN_DOMCTL_PFINFO_NOTAB);
    EXPECT_EQ(kinds[1], XEN_DOMCTL_PFINFO_L2TAB);
    for (int i = 2; i < 5; ++i)
        EXPECT_EQ(kinds[i], XEN_DOMCTL_PFINFO_XTAB);
    put_frame_and_type(table);
    op.u.getpageframeinfo3.num = ~u64{0};
    EXPECT_EQ(control(XEN_DOMCTL_getpageframeinfo3, id, op).error(), Err::TooBig);
    EXPECT_EQ(op.u.getpageframeinfo3.num, 1024u);
    op.u.getpageframeinfo3.array.p = reinterpret_cast<xen_pfn_t*>(~u64{7});
    EXPECT_EQ(control(XEN_DOMCTL_getpageframeinfo3, id, op).error(), Err::Fault);
}

TEST_F(DomctlTest, TscIsNative) {
    xen_domctl_t op{};
    for (u32 mode : {0u, 2u}) {
        op.u.tsc_info.tsc_mode = mode;
        EXPECT_TRUE(control(XEN_DOMCTL_settscinfo, id, op));
    }
    for (u32 mode : {1u, 3u, ~0u}) {
        op.u.tsc_info.tsc_mode = mode;
        EXPECT_EQ(control(XEN_DOMCTL_settscinfo, id, op).error(), Err::OpNotSupp);
    }
    ASSERT_TRUE(control(XEN_DOMCTL_gettscinfo, id, op));
    EXPECT_EQ(op.u.tsc_info.tsc_mode, 2u);
    EXPECT_EQ(op.u.tsc_info.gtsc_khz, 1'000'000u);
    EXPECT_EQ(op.u.tsc_info.elapsed_nsec, 0u);
}

TEST_F(DomctlTest, AddressSizeIs64) {
    xen_domctl_t op{};
    op.u.address_size.size = 64;
    EXPECT_TRUE(control(XEN_DOMCTL_set_address_size, id, op));
    op.u.address_size.size = 32;
    EXPECT_EQ(control(XEN_DOMCTL_set_address_size, id, op).error(), Err::Inval);
    ASSERT_TRUE(control(XEN_DOMCTL_get_address_size, id, op));
    EXPECT_EQ(op.u.address_size.size, 64u);
}

// Devices are dom0's, all of them, and nobody else's: an answer of success means that it is so.
TEST_F(DomctlTest, PermissionsAreGrantedWhereTheyAreTrue) {
    for (const bool to_dom0 : {false, true}) {
        for (const u8 allow : {u8{0}, u8{1}}) {
            const u16 target = to_dom0 ? 0 : id;
            xen_domctl_t op{};
            op.u.ioport_permission = {.first_port = 0x3f8, .nr_ports = 8, .allow_access = allow};
            const Err expected = to_dom0 == (allow != 0) ? Err{} : Err::OpNotSupp;
            EXPECT_EQ(control(XEN_DOMCTL_ioport_permission, target, op).error(), expected);
            op.u.iomem_permission = {.first_mfn = 0xa0, .nr_mfns = 0x20, .allow_access = allow};
            EXPECT_EQ(control(XEN_DOMCTL_iomem_permission, target, op).error(), expected);
            op.u.irq_permission = {.pirq = 9, .allow_access = allow};
            EXPECT_EQ(control(XEN_DOMCTL_irq_permission, target, op).error(), expected);
        }
    }
}

TEST_F(DomctlTest, PermissionsJudgeTheirRanges) {
    xen_domctl_t op{};
    op.u.ioport_permission = {.first_port = 0xfff8, .nr_ports = 9, .allow_access = 1};
    EXPECT_EQ(control(XEN_DOMCTL_ioport_permission, id, op).error(), Err::Inval);
    op.u.ioport_permission = {.first_port = ~0u, .nr_ports = ~0u, .allow_access = 1};
    EXPECT_EQ(control(XEN_DOMCTL_ioport_permission, id, op).error(), Err::Inval);
    op.u.iomem_permission = {.first_mfn = ~u64{0}, .nr_mfns = 2, .allow_access = 1};
    EXPECT_EQ(control(XEN_DOMCTL_iomem_permission, id, op).error(), Err::Inval);
    op.u.iomem_permission = {.first_mfn = 1, .nr_mfns = 0, .allow_access = 1};
    EXPECT_EQ(control(XEN_DOMCTL_iomem_permission, id, op).error(), Err::Inval);
    op.u.irq_permission = {.pirq = ~0u, .allow_access = 1};
    EXPECT_EQ(control(XEN_DOMCTL_irq_permission, id, op).error(), Err::Inval);
}

TEST_F(DomctlTest, SettingsOfADomain) {
    xen_domctl_t op{};
    std::memset(op.u.setdomainhandle.handle, 0xab, 16);
    EXPECT_TRUE(control(XEN_DOMCTL_setdomainhandle, id, op));
    EXPECT_EQ(domain(id)->handle[15], 0xab);
    op = {};
    op.u.settimeoffset.time_offset_seconds = -3600;
    EXPECT_TRUE(control(XEN_DOMCTL_settimeoffset, id, op));
    EXPECT_EQ(domain(id)->shared->wc_sec, 1'700'000'000u - 3600);
    op = {};
    op.u.max_mem.max_memkb = ~u64{0};
    EXPECT_TRUE(control(XEN_DOMCTL_max_mem, id, op));
    op.u.max_mem.max_memkb = 7;
    EXPECT_TRUE(control(XEN_DOMCTL_max_mem, id, op));
    EXPECT_EQ(domain(id)->frames.lock()->maximum, 1u) << "rounded down to pages";
    op = {};
    op.u.setdebugging.enable = 1;
    EXPECT_TRUE(control(XEN_DOMCTL_setdebugging, id, op));
    EXPECT_EQ(control(XEN_DOMCTL_setdebugging, 0, op).error(), Err::Inval);
    op.u.set_virq_handler.virq = VIRQ_TIMER;
    EXPECT_EQ(control(XEN_DOMCTL_set_virq_handler, id, op).error(), Err::Inval);
    op.u.set_virq_handler.virq = 1000;
    EXPECT_EQ(control(XEN_DOMCTL_set_virq_handler, id, op).error(), Err::Inval);
    EXPECT_EQ(control(XEN_DOMCTL_shadow_op, id).error(), Err::OpNotSupp);
    EXPECT_EQ(control(XEN_DOMCTL_assign_device, id).error(), Err::NoDev);
    EXPECT_EQ(control(XEN_DOMCTL_test_assign_device, DOMID_INVALID).error(), Err::NoDev);
}

// A caller that passes rubbish must get an answer, lose nothing and harm nobody.
TEST_F(DomctlTest, RubbishIsAnswered) {
    std::mt19937_64 random(7);
    const u32 before = domain(id)->references;
    for (int i = 0; i < 20000; ++i) {
        xen_domctl_t op;
        u64 words[sizeof op / 8];
        for (u64& word : words)
            word = random() % 3 ? random() : random() % 4;
        std::memcpy(&op, words, sizeof op);
        const u32 command = static_cast<u32>(random() % 90);
        if (command == XEN_DOMCTL_createdomain)
            continue;
        const bool harmless = command != XEN_DOMCTL_destroydomain && command != XEN_DOMCTL_unpausedomain;
        const u16 target = random() % 4 || !harmless ? id : static_cast<u16>(random());
        if (command == XEN_DOMCTL_destroydomain)
            continue;
        (void)control(command, target, op);
        ASSERT_EQ(world().held_locks, 0);
    }
    EXPECT_EQ(domain(id)->references, before);
    exit_path();
    EXPECT_EQ(world().current, dom0()->vcpus[0]);
}

} // namespace
} // namespace domus::test
