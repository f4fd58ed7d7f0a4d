// vcpu_op: a domain manages its own vcpus; alignment, "once", timers, wrong numbers.
#include "world.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/frame_table.hpp"

namespace domus::test {
namespace {

struct VcpuOpTest : DomainTest {
    VcpuOpTest() : id(create(34)), d(domain(id)) {
        // Made the caller without running it: dom0's vcpu stays on the CPU.
        caller = d->vcpus[0];
    }
    ~VcpuOpTest() override {
        d = DomainRef();
        destroy_it(id);
    }
    template <class T>
    Result<i64> op(u32 command, u32 vcpu, const T& argument) {
        return op_at(command, vcpu, put(argument, 1));
    }
    Result<i64> op_at(u32 command, u32 vcpu, u64 at) {
        Call c{*caller, *d, {}};
        return vcpu_op(c, command, vcpu, GuestPtr<void>{at});
    }
    u16 id;
    DomainRef d;
    Vcpu* caller;
};

TEST_F(VcpuOpTest, WrongNumbersAndCommands) {
    EXPECT_EQ(op_at(VCPUOP_up, 34, 0).error(), Err::NoEnt);
    EXPECT_EQ(op_at(VCPUOP_up, ~0u, 0).error(), Err::NoEnt);
    EXPECT_EQ(op_at(99, 0, 0).error(), Err::NoSys);
}

TEST_F(VcpuOpTest, InitialiseOnceAndThenUp) {
    EXPECT_EQ(op_at(VCPUOP_up, 1, 0).error(), Err::Inval) << "not initialised";
    EXPECT_EQ(op_at(VCPUOP_initialise, 1, 0xdead0000).error(), Err::Fault);
    world().refused_contexts = 1;
    EXPECT_EQ(op(VCPUOP_initialise, 1, vcpu_guest_context_t{}).error(), Err::Inval);
    EXPECT_TRUE(op(VCPUOP_initialise, 1, vcpu_guest_context_t{}));
    EXPECT_EQ(op(VCPUOP_initialise, 1, vcpu_guest_context_t{}).error(), Err::Exist);
    EXPECT_EQ(op_at(VCPUOP_is_up, 1, 0).value(), 0);
    EXPECT_TRUE(op_at(VCPUOP_up, 1, 0));
    EXPECT_EQ(op_at(VCPUOP_is_up, 1, 0).value(), 1);
    EXPECT_EQ(world().contexts_set, 1);
}

TEST_F(VcpuOpTest, AVcpuBeyond32NeedsItsVcpuInfoFirst) {
    EXPECT_EQ(op(VCPUOP_initialise, 33, vcpu_guest_context_t{}).error(), Err::Inval);
    const Mfn page = give_frames(id, 1);
    EXPECT_TRUE(op(VCPUOP_register_vcpu_info, 33, vcpu_register_vcpu_info_t{page.n, 128, 0}));
    EXPECT_TRUE(op(VCPUOP_initialise, 33, vcpu_guest_context_t{}));
}

TEST_F(VcpuOpTest, TheLastVcpuThatGoesDownTakesTheDomainWithIt) {
    for (u32 i : {1u, 2u}) {
        ASSERT_TRUE(op(VCPUOP_initialise, i, vcpu_guest_context_t{}));
        ASSERT_TRUE(op_at(VCPUOP_up, i, 0));
    }
    ASSERT_TRUE(op_at(VCPUOP_down, 1, 0));
    EXPECT_FALSE(d->has_shut_down);
    EXPECT_EQ(op_at(VCPUOP_is_up, 1, 0).value(), 0);
    ASSERT_TRUE(op_at(VCPUOP_down, 2, 0));
    EXPECT_TRUE(d->has_shut_down);
    EXPECT_EQ(d->shutdown_reason, SHUTDOWN_poweroff);
}

TEST_F(VcpuOpTest, VcpuInfoMovesWithItsContentsAndAnUpcall) {
    const Mfn page = give_frames(id, 1);
    Vcpu& vcpu = *d->vcpus[1];
    vcpu.info->evtchn_upcall_mask = 1;
    vcpu.info->arch.cr2 = 0x77;
    ASSERT_TRUE(op(VCPUOP_register_vcpu_info, 1, vcpu_register_vcpu_info_t{page.n, 4096 - 64, 0}));
    EXPECT_EQ(reinterpret_cast<u8*>(vcpu.info), arch::frame_pointer(page) + 4096 - 64);
    EXPECT_EQ(vcpu.info->arch.cr2, 0x77u);
    EXPECT_EQ(vcpu.info->evtchn_upcall_mask, 1);
    EXPECT_EQ(vcpu.info->evtchn_upcall_pending, 1);
    EXPECT_EQ(vcpu.info->evtchn_pending_sel, ~u64{0});
    EXPECT_GT(vcpu.info->time.version, 0u) << "its clock is right at once";
    EXPECT_FALSE(get_type(page, FrameType::L1)) << "while it is in use, the page cannot become a page table";
}

TEST_F(VcpuOpTest, VcpuInfoIsRefused) {
    const Mfn page = give_frames(id, 1);
    const auto with = [&](u32 vcpu, u64 mfn, u32 offset) {
        return op(VCPUOP_register_vcpu_info, vcpu, vcpu_register_vcpu_info_t{mfn, offset, 0}).error();
    };
    EXPECT_EQ(with(1, page.n, 4096 - 63), Err::NxIo) << "crosses the page";
    EXPECT_EQ(with(1, page.n, 4096), Err::NxIo);
    EXPECT_EQ(with(1, page.n, ~0u), Err::NxIo);
    EXPECT_EQ(with(1, page.n, ~0u - 63), Err::NxIo);
    EXPECT_EQ(with(1, page.n, 4), Err::NxIo) << "not aligned";
    EXPECT_EQ(with(1, ~u64{0}, 0), Err::Inval);
    EXPECT_EQ(with(1, 3, 0), Err::Inval) << "not the domain's";
    EXPECT_EQ(with(1, domain(0)->shared_info_frame.n, 0), Err::Inval) << "another domain's";
    ASSERT_TRUE(get_frame_and_type(page, *d, FrameType::L1));
    EXPECT_EQ(with(1, page.n, 0), Err::Inval) << "a page table";
    put_frame_and_type(page);
    EXPECT_TRUE(op(VCPUOP_register_vcpu_info, 1, vcpu_register_vcpu_info_t{page.n, 0, 0}));
    EXPECT_EQ(with(1, page.n, 64), Err::Inval) << "twice";
    start(*d->vcpus[2], Stop::Down);
    EXPECT_EQ(with(2, page.n, 64), Err::Inval) << "another vcpu that is up";
    EXPECT_EQ(op_at(VCPUOP_register_vcpu_info, 3, 0).error(), Err::Fault);
}

TEST_F(VcpuOpTest, SingleshotTimerIsTheCallersOwn) {
    EXPECT_EQ(op(VCPUOP_set_singleshot_timer, 1, vcpu_set_singleshot_timer_t{world().now + 10, 0}).error(), Err::Inval);
    EXPECT_EQ(op_at(VCPUOP_stop_singleshot_timer, 1, 0).error(), Err::Inval);
    // As Xen 4.17 answers (tests/guests/hypercalls): a time that has passed is taken and fires at once.
    EXPECT_TRUE(op(VCPUOP_set_singleshot_timer, 0, vcpu_set_singleshot_timer_t{world().now - 1, VCPU_SSHOTTMR_future}));
    EXPECT_TRUE(is_armed(caller->singleshot_timer));
    EXPECT_TRUE(
        op(VCPUOP_set_singleshot_timer, 0, vcpu_set_singleshot_timer_t{world().now + 99, VCPU_SSHOTTMR_future}));
    EXPECT_TRUE(is_armed(caller->singleshot_timer));
    EXPECT_TRUE(op_at(VCPUOP_stop_singleshot_timer, 0, 0));
    EXPECT_FALSE(is_armed(caller->singleshot_timer));
    EXPECT_EQ(op_at(VCPUOP_set_singleshot_timer, 0, 0).error(), Err::Fault);
}

TEST_F(VcpuOpTest, PeriodicTimer) {
    EXPECT_EQ(op(VCPUOP_set_periodic_timer, 0, vcpu_set_periodic_timer_t{999'999}).error(), Err::Inval);
    EXPECT_EQ(op(VCPUOP_set_periodic_timer, 0, vcpu_set_periodic_timer_t{0}).error(), Err::Inval);
    EXPECT_EQ(op(VCPUOP_set_periodic_timer, 0, vcpu_set_periodic_timer_t{~u64{0}}).error(), Err::Inval);
    EXPECT_TRUE(op(VCPUOP_set_periodic_timer, 0, vcpu_set_periodic_timer_t{1'000'000}));
    EXPECT_EQ(caller->periodic_period, 1'000'000u);
    EXPECT_TRUE(op_at(VCPUOP_stop_periodic_timer, 0, 0));
    EXPECT_EQ(caller->periodic_period, 0u);
}

TEST_F(VcpuOpTest, RunstateAndAreas) {
    ASSERT_TRUE(op_at(VCPUOP_get_runstate_info, 1, put(u64{0}, 1)));
    EXPECT_EQ(get<vcpu_runstate_info_t>(1).state, RUNSTATE_offline);
    EXPECT_EQ(op_at(VCPUOP_get_runstate_info, 1, 0xdead0000).error(), Err::Fault);
    vcpu_register_runstate_memory_area_t runstate{};
    runstate.addr.p = 0xffff830000000000; // the hypervisor's own
    EXPECT_EQ(op(VCPUOP_register_runstate_memory_area, 0, runstate).error(), Err::Fault);
    runstate.addr.p = ~u64{0} - 8;
    EXPECT_EQ(op(VCPUOP_register_runstate_memory_area, 0, runstate).error(), Err::Fault);
    EXPECT_EQ(caller->runstate_guest, 0u);
    runstate.addr.p = window_base + 0x4000;
    EXPECT_TRUE(op(VCPUOP_register_runstate_memory_area, 0, runstate));
    EXPECT_EQ(get<vcpu_runstate_info_t>(2).state, RUNSTATE_offline) << "written at once";
    vcpu_register_time_memory_area_t time{};
    time.addr.p = 0xffff830000000000;
    EXPECT_EQ(op(VCPUOP_register_vcpu_time_memory_area, 0, time).error(), Err::Fault);
    time.addr.p = window_base + 0x6000;
    EXPECT_TRUE(op(VCPUOP_register_vcpu_time_memory_area, 0, time));
    EXPECT_EQ(get<vcpu_time_info_t>(3).tsc_shift, 1);
    EXPECT_EQ(get<vcpu_time_info_t>(3).version % 2, 0u);
    caller->runstate_guest = caller->time_info_guest = 0;
}

TEST_F(VcpuOpTest, NmiAndPhysicalId) {
    EXPECT_EQ(op_at(VCPUOP_send_nmi, 1, 8).error(), Err::Inval);
    EXPECT_TRUE(op_at(VCPUOP_send_nmi, 1, 0));
    EXPECT_TRUE(d->vcpus[1]->nmi_pending);
    EXPECT_EQ(op_at(VCPUOP_get_physid, 0, put(u64{0}, 1)).error(), Err::Inval);
    EXPECT_TRUE(set_affinity(*caller, 1));
    EXPECT_EQ(op_at(VCPUOP_get_physid, 0, put(u64{0}, 1)).error(), Err::Inval) << "dom0's only";
}

} // namespace
} // namespace domus::test
