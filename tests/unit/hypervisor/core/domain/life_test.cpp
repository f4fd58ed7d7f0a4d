// From creation to the last frame given back: shutdown, crash, resume, destroy in steps, references, numbers.
#include "world.hpp"

#include "hypervisor/core/domain_list.hpp"
#include "hypervisor/core/frame_table.hpp"

namespace domus::test {
namespace {

using Life = hv::Life;

struct LifeTest : DomainTest {
    u16 run_one(u32 vcpus = 1) {
        const u16 id = create(vcpus);
        const DomainRef d = domain(id);
        for (u32 i = 0; i < vcpus; ++i)
            start(*d->vcpus[i], Stop::Down);
        EXPECT_TRUE(control(XEN_DOMCTL_unpausedomain, id));
        return id;
    }
};

TEST_F(LifeTest, AHundredDomainsLeaveNothingBehind) {
    for (u32 i = 0; i < 100; ++i) {
        const u16 id = create(1 + i % 8);
        give_frames(id, 30);
        destroy_it(id);
        ASSERT_FALSE(domain(id));
        ASSERT_EQ(free_frame_count(), frames_before_) << "after domain " << i;
    }
}

TEST_F(LifeTest, ManyAtOnceInAnyOrder) {
    std::vector<u16> ids;
    for (int i = 0; i < 12; ++i)
        ids.push_back(create(3));
    for (usize i = 0; i < ids.size(); ++i)
        destroy_it(ids[i * 5 % ids.size()]);
    EXPECT_FALSE(next_domain(*first_domain())) << "only dom0 is left";
}

TEST_F(LifeTest, DestroyStopsAndGoesOnWhereverWorkWaits) {
    for (u32 yields = 1; yields < 40; ++yields) {
        const u16 id = run_one(2);
        give_frames(id, 100);
        world().yields_left = yields;
        world().restarts = static_cast<int>(yields % 5);
        destroy_it(id);
        ASSERT_FALSE(domain(id));
        ASSERT_EQ(free_frame_count(), frames_before_);
    }
    world().yields_left = 0;
}

TEST_F(LifeTest, AMappedFrameKeepsTheDomainUntilItGoes) {
    const u16 id = create();
    const Mfn frame = give_frames(id, 10);
    ASSERT_TRUE(get_frame(frame, *domain(id))); // somebody maps it
    destroy_it(id);
    {
        const DomainRef dead = domain(id);
        ASSERT_TRUE(dead);
        EXPECT_EQ(dead->life, Life::Dead);
    }
    xen_domctl_t op{};
    ASSERT_TRUE(control(XEN_DOMCTL_getdomaininfo, id, op));
    EXPECT_TRUE(op.u.getdomaininfo.flags & XEN_DOMINF_dying);
    EXPECT_EQ(op.u.getdomaininfo.tot_pages, 1u);
    EXPECT_TRUE(control(XEN_DOMCTL_destroydomain, id)) << "asking again does no harm";
    put_frame(frame);
    exit_path();
    EXPECT_FALSE(domain(id));
}

TEST_F(LifeTest, AReferenceKeepsTheDomainButNotItsMemory) {
    const u16 id = create();
    give_frames(id, 50);
    DomainRef held = domain(id);
    destroy_it(id);
    EXPECT_TRUE(domain(id));
    held = DomainRef();
    exit_path();
    EXPECT_FALSE(domain(id));
}

TEST_F(LifeTest, ShutdownStopsAllVcpusOnceAndKeepsTheFirstReason) {
    const u16 id = run_one(3);
    const DomainRef d = domain(id);
    shut_down_domain(*d, SHUTDOWN_reboot);
    shut_down_domain(*d, SHUTDOWN_crash);
    xen_domctl_t op{};
    ASSERT_TRUE(control(XEN_DOMCTL_getdomaininfo, id, op));
    EXPECT_EQ(op.u.getdomaininfo.flags >> XEN_DOMINF_shutdownshift & XEN_DOMINF_shutdownmask, u32{SHUTDOWN_reboot});
    EXPECT_TRUE(op.u.getdomaininfo.flags & XEN_DOMINF_shutdown);
    for (u32 i = 0; i < 3; ++i)
        EXPECT_NE(d->vcpus[i]->sched.stops & bit_of(Stop::ShutDown), 0u);
    EXPECT_TRUE(control(XEN_DOMCTL_resumedomain, id));
    EXPECT_EQ(d->life, Life::Alive);
    EXPECT_EQ(d->vcpus[0]->sched.stops, 0u);
    destroy_it(id);
}

TEST_F(LifeTest, ACrashHasOneLineWithTheReason) {
    const u16 id = run_one();
    crash_domain(*domain(id), "its stack has no bottom");
    int lines = 0;
    for (const std::string& line : world().log)
        lines += line.find("its stack has no bottom") != line.npos;
    EXPECT_EQ(lines, 1);
    EXPECT_EQ(domain(id)->shutdown_reason, SHUTDOWN_crash);
    destroy_it(id);
}

TEST_F(LifeTest, ALatchedCodeWins) {
    const u16 id = run_one();
    domain(id)->latched_shutdown_code = SHUTDOWN_watchdog;
    shut_down_domain(*domain(id), SHUTDOWN_poweroff);
    EXPECT_EQ(domain(id)->shutdown_reason, SHUTDOWN_watchdog);
    destroy_it(id);
}

TEST_F(LifeTest, WithDom0TheMachineEnds) {
    const auto how = [](u8 reason) {
        try {
            shut_down_domain(*dom0(), reason);
        } catch (const MachineEnds& end) {
            return end.how;
        }
        return std::string("went on");
    };
    EXPECT_EQ(how(SHUTDOWN_poweroff), "off");
    EXPECT_EQ(how(SHUTDOWN_reboot), "reboot");
    EXPECT_EQ(how(SHUTDOWN_crash), "halt");
    EXPECT_EQ(how(77), "reboot");
}

TEST_F(LifeTest, Dom0CannotBeDestroyed) {
    EXPECT_EQ(control(XEN_DOMCTL_destroydomain, 0).error(), Err::Inval);
}

TEST_F(LifeTest, NumbersAreUsedInTurn) {
    const u16 first = create();
    destroy_it(first);
    const u16 second = create();
    EXPECT_NE(first, second);
    DomainParameters parameters;
    parameters.id = second;
    EXPECT_EQ(create_domain(parameters).error(), Err::Exist);
    destroy_it(second);
}

TEST_F(LifeTest, WhenMemoryIsOutNothingIsLost) {
    std::vector<Mfn> taken;
    while (auto frame = allocate_frames())
        taken.push_back(frame.value());
    for (u32 back = 0; back < 40 && !taken.empty(); ++back) {
        const u64 free_now = free_frame_count();
        {
            DomainParameters parameters;
            auto made = create_domain(parameters);
            if (made) {
                for (u32 i = 0; i < 1; ++i)
                    (void)create_vcpu(*made.value(), VcpuId(i));
                Call c = call();
                EXPECT_TRUE(destroy_domain(c, *made.value()));
            } else {
                EXPECT_EQ(made.error(), Err::NoMem);
            }
        }
        exit_path();
        ASSERT_EQ(free_frame_count(), free_now) << "with " << back << " frames free";
        free_frames(taken.back());
        taken.pop_back();
    }
    for (Mfn frame : taken)
        free_frames(frame);
}

TEST_F(LifeTest, LimitsOfCreation) {
    DomainParameters parameters;
    parameters.max_vcpus = 0;
    EXPECT_EQ(create_domain(parameters).error(), Err::Inval);
    parameters.max_vcpus = max_vcpus_per_domain + 1;
    EXPECT_EQ(create_domain(parameters).error(), Err::Inval);
    const u16 id = create(2);
    EXPECT_EQ(create_vcpu(*domain(id), VcpuId(2)).error(), Err::Inval);
    EXPECT_EQ(create_vcpu(*domain(id), VcpuId(~0u)).error(), Err::Inval);
    EXPECT_EQ(create_vcpu(*domain(id), VcpuId(0)).error(), Err::Exist);
    destroy_it(id);
}

TEST_F(LifeTest, NewVcpusAreMaskedDownAndPaused) {
    const u16 id = create(40);
    const DomainRef d = domain(id);
    for (u32 i = 0; i < 40; ++i) {
        EXPECT_EQ(d->vcpus[i]->info->evtchn_upcall_mask, 1);
        EXPECT_EQ(d->vcpus[i]->sched.stops, bit_of(Stop::Down) | bit_of(Stop::DomainPaused));
        EXPECT_EQ(d->vcpus[i]->info == &unregistered_vcpu_info, i >= 32);
    }
    EXPECT_EQ(d->shared->wc_sec, 1'700'000'000u);
    destroy_it(id);
}

TEST_F(LifeTest, TimersOfTheDeadDoNotFire) {
    const u16 id = run_one();
    {
        const DomainRef d = domain(id);
        arm(d->vcpus[0]->singleshot_timer, Nanoseconds(world().now + 1000));
        d->watchdogs[0].handler = [](void*) { FAIL() << "a dead domain's watchdog"; };
        arm(d->watchdogs[0], Nanoseconds(world().now + 1000));
    }
    destroy_it(id);
    world().now += 100'000'000;
    exit_path();
}

} // namespace
} // namespace domus::test
