// The weighted fair policy as properties: shares follow weights, caps hold, nobody starves, books balance.
#include "machine.hpp"

#include <gtest/gtest.h>

#include <random>

namespace domus::test {
namespace {

u64 run_time(const Domain& domain) {
    u64 sum = 0;
    for (u32 i = 0; i < domain.max_vcpus; ++i)
        sum += run_time_of(*domain.vcpus[i]);
    return sum;
}

TEST(Fair, SharesFollowWeights) {
    std::mt19937 random(1);
    for (int round = 0; round < 10; ++round) {
        Machine m;
        const u32 count = 2 + random() % 6;
        u64 weights = 0;
        for (u32 i = 0; i < count; ++i) {
            const u32 weight = 64 << random() % 5;
            weights += weight;
            Machine::run(m.make_domain(1, weight));
        }
        m.advance(20 * second);
        for (const auto& domain : m.domains) {
            const double share = static_cast<double>(run_time(*domain)) / (20.0 * second);
            EXPECT_NEAR(share, static_cast<double>(domain->weight) / static_cast<double>(weights), 0.01);
        }
    }
}

TEST(Fair, VcpusOfOneDomainShareEvenly) {
    Machine m;
    Domain& domain = m.make_domain(7);
    Machine::run(domain);
    m.advance(7 * second);
    for (u32 i = 0; i < 7; ++i)
        EXPECT_NEAR(static_cast<double>(run_time_of(*domain.vcpus[i])), 1.0 * second, 0.02 * second);
}

TEST(Fair, ALateComerGetsItsShareAndNoMore) {
    Machine m;
    Domain& old = m.make_domain(1);
    Machine::run(old);
    m.advance(100 * second);
    Domain& late = m.make_domain(1);
    Machine::run(late);
    m.advance(second);
    EXPECT_NEAR(static_cast<double>(run_time(late)), 0.5 * second, 0.02 * second);
}

TEST(Fair, NobodyWaitsLong) {
    Machine m;
    for (int i = 0; i < 10; ++i)
        Machine::run(m.make_domain(1));
    m.advance(second);
    std::map<Vcpu*, u64> last_seen;
    for (int i = 0; i < 20000; ++i) {
        m.advance(ms / 10);
        last_seen[m.cpus[0].current] = m.now;
        for (const auto& domain : m.domains)
            ASSERT_LT(m.now - last_seen.try_emplace(domain->vcpus[0], m.now).first->second, 60 * ms);
    }
}

TEST(Fair, CapsHoldOverTimeForOneAndSeveralVcpus) {
    for (const auto& [vcpus, cap] : {std::pair{1u, 25u}, {1u, 1u}, {2u, 50u}, {4u, 10u}, {1u, 99u}}) {
        Machine m;
        Domain& capped = m.make_domain(vcpus, 256, cap);
        Machine::run(capped);
        m.advance(10 * second);
        EXPECT_NEAR(static_cast<double>(run_time(capped)), cap / 100.0 * 10 * second, 0.01 * 10 * second)
            << vcpus << " vcpus, " << cap << " %";
    }
}

TEST(Fair, WhatACappedDomainMayNotUseGoesToOthers) {
    Machine m;
    Domain& capped = m.make_domain(1, 1024, 20);
    Domain& free = m.make_domain(1, 64);
    Machine::run(capped);
    Machine::run(free);
    m.advance(10 * second);
    EXPECT_NEAR(static_cast<double>(run_time(capped)), 2.0 * second, 0.1 * second);
    EXPECT_NEAR(static_cast<double>(run_time(free)), 8.0 * second, 0.1 * second);
}

TEST(Fair, AWokenSleeperInterruptsAHogAtOnce) {
    Machine m;
    Domain& hog = m.make_domain(1);
    Domain& sleeper = m.make_domain(1);
    Machine::run(hog);
    Machine::run(sleeper);
    for (int i = 0; i < 200; ++i) {
        while (m.cpus[0].current != sleeper.vcpus[0])
            m.advance(ms / 10);
        sleeper.vcpus[0]->info->evtchn_upcall_pending = 0;
        m.as(*sleeper.vcpus[0], [&] { block(*sleeper.vcpus[0]); });
        ASSERT_EQ(m.cpus[0].current, hog.vcpus[0]);
        m.advance(20 * ms);
        sleeper.vcpus[0]->info->evtchn_upcall_pending = 1;
        notify(*sleeper.vcpus[0]);
        m.exit_paths();
        ASSERT_EQ(m.cpus[0].current, sleeper.vcpus[0]) << "woken, but had to wait";
        m.advance(ms / 5);
    }
    EXPECT_GT(run_time(hog), 100 * run_time(sleeper) / 2);
}

TEST(Fair, SleepingDoesNotSaveUpTime) {
    Machine m;
    Domain& hog = m.make_domain(1);
    Domain& sleeper = m.make_domain(1);
    Machine::run(hog);
    Machine::run(sleeper);
    while (m.cpus[0].current != sleeper.vcpus[0])
        m.advance(ms);
    m.as(*sleeper.vcpus[0], [&] { block(*sleeper.vcpus[0]); });
    m.advance(100 * second);
    const u64 hog_before = run_time(hog);
    sleeper.vcpus[0]->info->evtchn_upcall_pending = 1;
    notify(*sleeper.vcpus[0]);
    m.advance(100 * ms);
    EXPECT_GT(run_time(hog) - hog_before, 40 * ms) << "a sleeper of 100 s took the CPU for itself";
}

TEST(Fair, OneVcpuAloneIsNotInterrupted) {
    Machine m;
    Machine::run(m.make_domain(1));
    m.exit_paths();
    EXPECT_EQ(m.cpus[0].deadline, ~u64{0});
}

TEST(Fair, RunstatesAddUpToTheTimeThatPassed) {
    std::mt19937 random(3);
    Machine m(2);
    for (int i = 0; i < 4; ++i)
        Machine::run(m.make_domain(2, 128 << i, i == 3 ? 30 : 0));
    const u64 began = m.now;
    for (int i = 0; i < 3000; ++i) {
        Vcpu& vcpu = *m.domains[random() % 4]->vcpus[random() % 2];
        switch (random() % 5) {
        case 0:
            vcpu.info->evtchn_upcall_pending = 0;
            if (vcpu.running)
                m.as(vcpu, [&] { block(vcpu); });
            break;
        case 1:
            vcpu.info->evtchn_upcall_pending = 1;
            notify(vcpu);
            break;
        case 2:
            pause_domain(vcpu.domain);
            m.advance(random() % ms);
            unpause_domain(vcpu.domain);
            break;
        default:
            m.advance(random() % (5 * ms));
        }
    }
    m.exit_paths();
    u64 running = 0;
    for (const auto& domain : m.domains) {
        for (u32 i = 0; i < 2; ++i) {
            const auto books = runstate_now(*domain->vcpus[i]);
            EXPECT_EQ(books.time[0] + books.time[1] + books.time[2] + books.time[3], m.now - began);
            running += books.time[RUNSTATE_running];
        }
    }
    EXPECT_EQ(running + idle_time(CpuId(0)) + idle_time(CpuId(1)), 2 * (m.now - began))
        << "CPU time was lost or made up";
}

} // namespace
} // namespace domus::test
