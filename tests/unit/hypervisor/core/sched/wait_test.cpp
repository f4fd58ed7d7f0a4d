// Blocking, waking, pausing, affinity: no wake-up is lost wherever the event comes in, and counts nest.
#include "machine.hpp"

#include <gtest/gtest.h>

#include <random>

namespace domus::test {
namespace {

struct OneVcpu : testing::Test {
    OneVcpu() : domain(m.make_domain(1)), vcpu(*domain.vcpus[0]) {
        Machine::run(domain);
        m.exit_paths();
    }
    void send() {
        vcpu.info->evtchn_upcall_pending = 1;
        notify(vcpu);
    }
    bool runs() {
        m.exit_paths();
        return m.cpus[0].current == &vcpu;
    }
    Machine m;
    Domain& domain;
    Vcpu& vcpu;
};

TEST_F(OneVcpu, BlocksWithoutEvents) {
    vcpu.info->evtchn_upcall_mask = 1;
    m.as(vcpu, [&] { block(vcpu); });
    EXPECT_FALSE(runs());
    EXPECT_EQ(vcpu.info->evtchn_upcall_mask, 0) << "block opens the mask";
    send();
    EXPECT_TRUE(runs());
}

TEST_F(OneVcpu, DoesNotBlockWhenAnEventWaits) {
    vcpu.info->evtchn_upcall_mask = 1;
    vcpu.info->evtchn_upcall_pending = 1;
    m.as(vcpu, [&] { block(vcpu); });
    EXPECT_TRUE(runs());
}

TEST_F(OneVcpu, NoWakeUpIsLostWhereverTheEventComesIn) {
    for (int when = 0; when < 4; ++when) {
        vcpu.info->evtchn_upcall_pending = 0;
        int looks = 0;
        m.before_pending_check = [&] {
            if (looks++ == when)
                send(); // a sender on another CPU, just before the vcpu looks for the n-th time
        };
        m.as(vcpu, [&] { block(vcpu); });
        m.before_pending_check = nullptr;
        if (vcpu.info->evtchn_upcall_pending) {
            EXPECT_TRUE(runs()) << "lost, at look " << when;
        } else {
            EXPECT_FALSE(runs());
            send();
            EXPECT_TRUE(runs());
        }
    }
}

TEST_F(OneVcpu, AnEventDoesNotStartWhatIsDownOrPaused) {
    pause_domain(domain);
    EXPECT_FALSE(runs());
    send();
    EXPECT_FALSE(runs());
    unpause_domain(domain);
    EXPECT_TRUE(runs());
    stop(vcpu, Stop::Down);
    send();
    EXPECT_FALSE(runs());
    start(vcpu, Stop::Down);
    EXPECT_TRUE(runs());
}

TEST_F(OneVcpu, PausesNest) {
    pause_domain(domain);
    pause_domain(domain);
    pause_vcpu(vcpu);
    unpause_domain(domain);
    EXPECT_FALSE(runs());
    unpause_domain(domain);
    EXPECT_FALSE(runs());
    unpause_vcpu(vcpu);
    EXPECT_TRUE(runs());
}

TEST_F(OneVcpu, BlockedWhilePausedStaysBlockedAfterwards) {
    m.as(vcpu, [&] { block(vcpu); });
    pause_domain(domain);
    unpause_domain(domain);
    EXPECT_FALSE(runs());
    EXPECT_EQ(vcpu.runstate.state, RUNSTATE_blocked);
}

TEST_F(OneVcpu, RunstateNamesTheReason) {
    m.as(vcpu, [&] { block(vcpu); });
    pause_domain(domain);
    EXPECT_EQ(vcpu.runstate.state, RUNSTATE_blocked) << "blocked wins";
    send();
    EXPECT_EQ(vcpu.runstate.state, RUNSTATE_offline);
    unpause_domain(domain);
    EXPECT_EQ(vcpu.runstate.state, RUNSTATE_runnable);
    EXPECT_TRUE(runs());
    EXPECT_EQ(vcpu.runstate.state, RUNSTATE_running);
}

TEST(Wait, YieldLetsTheOtherRun) {
    Machine m;
    Domain& a = m.make_domain(1);
    Domain& b = m.make_domain(1);
    Machine::run(a);
    Machine::run(b);
    m.advance(50 * ms);
    for (int i = 0; i < 100; ++i) {
        Vcpu& before = *m.cpus[0].current;
        m.advance(ms / 20);
        Vcpu& now = *m.cpus[0].current;
        if (&now != &before)
            continue;
        m.as(now, [] { yield_current(); });
        ASSERT_NE(m.cpus[0].current, &now);
    }
}

TEST(Wait, YieldAloneChangesNothing) {
    Machine m;
    Domain& a = m.make_domain(1);
    Machine::run(a);
    m.exit_paths();
    m.as(*a.vcpus[0], [] { yield_current(); });
    EXPECT_EQ(m.cpus[0].current, a.vcpus[0]);
}

TEST(Affinity, IsObeyedByRunningWaitingAndSleepingVcpus) {
    Machine m(2);
    Domain& domain = m.make_domain(3);
    for (u32 i = 0; i < 3; ++i)
        EXPECT_TRUE(set_affinity(*domain.vcpus[i], 1));
    Machine::run(domain);
    m.advance(30 * ms);
    EXPECT_TRUE(m.cpus[1].current->is_idle);
    for (u32 i = 0; i < 3; ++i)
        EXPECT_TRUE(set_affinity(*domain.vcpus[i], 2));
    m.advance(30 * ms);
    EXPECT_TRUE(m.cpus[0].current->is_idle);
    EXPECT_FALSE(m.cpus[1].current->is_idle);
    const u64 idle_before = idle_time(CpuId(1));
    m.advance(300 * ms);
    EXPECT_EQ(idle_time(CpuId(1)), idle_before);
    EXPECT_EQ(set_affinity(*domain.vcpus[0], 4).error(), Err::Inval);
    EXPECT_EQ(set_affinity(*domain.vcpus[0], 0).error(), Err::Inval);
}

TEST(Wait, RandomStopsAndStartsNeverRunAStoppedVcpu) {
    constexpr Stop reasons[] = {Stop::Down, Stop::Paused, Stop::ShutDown, Stop::Blocked};
    for (u32 seed = 0; seed < 10; ++seed) {
        std::mt19937 random(seed);
        Machine m(3);
        for (int i = 0; i < 4; ++i)
            Machine::run(m.make_domain(2));
        for (int i = 0; i < 2000; ++i) {
            Vcpu& vcpu = *m.domains[random() % 4]->vcpus[random() % 2];
            const Stop reason = reasons[random() % std::size(reasons)];
            m.cpu_here = random() % 3;
            switch (random() % 4) {
            case 0:
                stop(vcpu, reason);
                break;
            case 1:
                start(vcpu, reason);
                break;
            case 2:
                ASSERT_TRUE(set_affinity(vcpu, 1 + random() % 7));
                break;
            default:
                m.advance(random() % (3 * ms));
            }
            m.exit_paths();
            std::set<Vcpu*> seen;
            u32 runnable = 0, busy = 0;
            for (const Cpu& cpu : m.cpus) {
                if (cpu.current->is_idle)
                    continue;
                ++busy;
                ASSERT_EQ(cpu.current->sched.stops, 0u);
                ASSERT_TRUE(seen.insert(cpu.current).second) << "one vcpu on two CPUs";
            }
            for (const auto& domain : m.domains) {
                for (u32 v = 0; v < 2; ++v) {
                    const Vcpu& one = *domain->vcpus[v];
                    runnable += one.sched.stops == 0;
                    ASSERT_EQ(one.sched.stops == 0, one.sched.queued || one.running) << "runnable, but nowhere";
                }
            }
            ASSERT_TRUE(busy > 0 || runnable == 0);
        }
    }
}

} // namespace
} // namespace domus::test
