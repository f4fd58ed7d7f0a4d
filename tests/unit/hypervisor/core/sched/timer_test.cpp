// Timers: the pairing heap against a plain model, re-arming, disarming, other CPUs.
#include "machine.hpp"

#include "hypervisor/core/timer.hpp"

#include <gtest/gtest.h>

#include <random>

namespace domus::test {
namespace {

struct Alarm {
    Timer timer;
    u64 expected = 0; // 0: not armed
    int fired = 0;
};

void ring(void* context) {
    auto& alarm = *static_cast<Alarm*>(context);
    EXPECT_NE(alarm.expected, 0u) << "fired without being armed";
    EXPECT_LE(alarm.expected, machine->now);
    alarm.expected = 0;
    ++alarm.fired;
}

TEST(Timer, FiresInOrderAndOnceWhateverIsArmedAndDisarmed) {
    for (u32 seed = 0; seed < 20; ++seed) {
        Machine m;
        std::mt19937_64 random(seed);
        std::vector<Alarm> alarms(200);
        for (Alarm& alarm : alarms) {
            alarm.timer.handler = ring;
            alarm.timer.context = &alarm;
        }
        for (int step = 0; step < 3000; ++step) {
            Alarm& alarm = alarms[random() % alarms.size()];
            switch (random() % 4) {
            case 0:
            case 1:
                alarm.expected = m.now + 1 + random() % 5000;
                arm(alarm.timer, Nanoseconds(alarm.expected));
                break;
            case 2:
                disarm(alarm.timer);
                alarm.expected = 0;
                break;
            default:
                m.advance(random() % 2000);
            }
            u64 earliest = ~u64{0};
            for (const Alarm& a : alarms) {
                ASSERT_EQ(is_armed(a.timer), a.expected != 0);
                if (a.expected != 0) {
                    ASSERT_GT(a.expected, m.now) << "overdue";
                    earliest = std::min(earliest, a.expected);
                }
            }
            ASSERT_LE(m.cpus[0].deadline, earliest) << "the hardware would wake too late";
        }
        for (Alarm& alarm : alarms)
            disarm(alarm.timer);
    }
}

TEST(Timer, TenThousandAtOnceDoNotUseTheStack) {
    Machine m;
    std::vector<Alarm> alarms(10000);
    for (Alarm& alarm : alarms) {
        alarm.timer.handler = ring;
        alarm.timer.context = &alarm;
        alarm.expected = m.now + 1000;
        arm(alarm.timer, Nanoseconds(alarm.expected));
    }
    m.advance(1000);
    for (const Alarm& alarm : alarms)
        ASSERT_EQ(alarm.fired, 1);
}

TEST(Timer, ADeadlineInThePastFiresAtTheNextExit) {
    Machine m;
    Alarm alarm;
    alarm.timer.handler = ring;
    alarm.timer.context = &alarm;
    alarm.expected = 1;
    arm(alarm.timer, Nanoseconds(1));
    m.exit_paths();
    EXPECT_EQ(alarm.fired, 1);
}

struct Repeating {
    Timer timer;
    int fired = 0;
};

TEST(Timer, AHandlerMayArmItsOwnTimer) {
    Machine m;
    Repeating repeating;
    repeating.timer.context = &repeating;
    repeating.timer.handler = [](void* context) {
        auto& r = *static_cast<Repeating*>(context);
        if (++r.fired < 5)
            arm(r.timer, Nanoseconds(machine->now + 100));
    };
    arm(repeating.timer, Nanoseconds(m.now + 100));
    m.advance(10000);
    EXPECT_EQ(repeating.fired, 5);
    EXPECT_FALSE(is_armed(repeating.timer));
}

TEST(Timer, MovesToTheCpuThatArmsItAgain) {
    Machine m(2);
    Alarm alarm;
    alarm.timer.handler = ring;
    alarm.timer.context = &alarm;
    m.cpu_here = 0;
    alarm.expected = m.now + 500;
    arm(alarm.timer, Nanoseconds(alarm.expected));
    m.cpu_here = 1;
    alarm.expected = m.now + 900;
    arm(alarm.timer, Nanoseconds(alarm.expected));
    EXPECT_EQ(alarm.timer.cpu, 1u);
    m.advance(600);
    EXPECT_EQ(alarm.fired, 0);
    m.advance(400);
    EXPECT_EQ(alarm.fired, 1);
}

} // namespace
} // namespace domus::test
