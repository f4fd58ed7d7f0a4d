// sched_op: poll and its races, watchdog, shutdown codes, bad arguments; set_timer_op and a vcpu's timers.
#include "machine.hpp"

#include "hypervisor/core/hypercalls_domain.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace domus::test {
namespace {

constexpr u64 argument_at = 0x10000;
constexpr u64 ports_at = 0x11000;

struct SchedOp : testing::Test {
    SchedOp() : domain(m.make_domain(1)), vcpu(*domain.vcpus[0]) {
        m.mapped = {argument_at >> 12, ports_at >> 12};
        Machine::run(domain);
        m.exit_paths();
    }
    template <class T>
    void put(u64 at, const T& value) {
        u8 bytes[sizeof value];
        std::memcpy(bytes, &value, sizeof value);
        for (usize i = 0; i < sizeof value; ++i)
            m.guest[at + i] = bytes[i];
    }
    template <class T>
    Result<i64> op(u32 command, const T& value) {
        put(argument_at, value);
        return op_at(command, argument_at);
    }
    Result<i64> op_at(u32 command, u64 at) {
        Call call = m.call_of(vcpu);
        m.cpu_here = 0;
        auto result = sched_op(call, command, GuestPtr<void>{at});
        m.exit_paths();
        return result;
    }
    Result<i64> poll(std::vector<u32> ports, u64 timeout = 0) {
        for (usize i = 0; i < ports.size(); ++i)
            put(ports_at + i * 4, ports[i]);
        sched_poll_t request{};
        request.ports.p = reinterpret_cast<evtchn_port_t*>(ports_at);
        request.nr_ports = static_cast<u32>(ports.size());
        request.timeout = timeout;
        return op(SCHEDOP_poll, request);
    }
    // What event sending does for a port that is masked.
    void send_masked(u32 port) {
        m.pending_ports.insert(port);
        const u64 polled = vcpu.poll_port.load();
        if (polled == port || polled == ~u64{0})
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

TEST_F(SchedOp, PollWakesForItsPortAndForNoOther) {
    ASSERT_TRUE(poll({5}));
    EXPECT_FALSE(runs());
    EXPECT_EQ(domain.pollers, 1u);
    send_masked(6);
    EXPECT_FALSE(runs());
    send_masked(5);
    EXPECT_TRUE(runs());
    EXPECT_EQ(domain.pollers, 0u);
    EXPECT_EQ(vcpu.poll_port, 0u);
}

TEST_F(SchedOp, PollReturnsAtOnceWhenAPortIsPending) {
    m.pending_ports = {7};
    EXPECT_TRUE(poll({5, 6, 7}));
    EXPECT_TRUE(runs());
}

TEST_F(SchedOp, PollLosesNoWakeUpWhereverTheEventComesIn) {
    for (int when = 0; when < 4; ++when) {
        m.pending_ports.clear();
        int looks = 0;
        m.on_read_of_port = [&] {
            if (looks++ == when)
                send_masked(5);
        };
        ASSERT_TRUE(poll({5, 6}));
        m.on_read_of_port = nullptr;
        EXPECT_EQ(runs(), m.pending_ports.contains(5)) << when;
        send_masked(5);
        EXPECT_TRUE(runs());
        EXPECT_EQ(domain.pollers, 0u);
    }
}

TEST_F(SchedOp, PollEndsAtItsTimeLimitAndTheTimerDoesNotWakeLaterSleep) {
    ASSERT_TRUE(poll({5}, m.now + 3 * ms));
    m.advance(2 * ms);
    EXPECT_FALSE(runs());
    m.advance(ms);
    EXPECT_TRUE(runs());
    ASSERT_TRUE(poll({5}, m.now + 3 * ms));
    send_masked(5);
    EXPECT_TRUE(runs());
    m.pending_ports.clear();
    m.as(vcpu, [&] { block(vcpu); }); // the old time limit is still armed
    m.advance(10 * ms);
    EXPECT_FALSE(runs());
}

TEST_F(SchedOp, PollWithoutPortsSleepsUntilItsTimeLimit) {
    ASSERT_TRUE(poll({}, m.now + ms));
    EXPECT_FALSE(runs());
    m.advance(ms);
    EXPECT_TRUE(runs());
    EXPECT_TRUE(poll({}, m.now - 1));
    EXPECT_TRUE(runs()) << "a limit in the past does not block";
}

TEST_F(SchedOp, PollRefusesWhatIsWrong) {
    EXPECT_EQ(poll({0}).error(), Err::Inval);
    EXPECT_EQ(poll({5, 4000}).error(), Err::Inval);
    EXPECT_EQ(poll(std::vector<u32>(129, 1)).error(), Err::Inval);
    EXPECT_EQ(op_at(SCHEDOP_poll, 0xdead0000).error(), Err::Fault);
    sched_poll_t request{};
    request.ports.p = reinterpret_cast<evtchn_port_t*>(u64{0xdead0000});
    request.nr_ports = 3;
    EXPECT_EQ(op(SCHEDOP_poll, request).error(), Err::Fault);
    request.ports.p = reinterpret_cast<evtchn_port_t*>(~u64{3});
    EXPECT_EQ(op(SCHEDOP_poll, request).error(), Err::Fault);
    EXPECT_TRUE(runs());
    EXPECT_EQ(domain.pollers, 0u);
}

TEST_F(SchedOp, ShutdownPassesTheReason) {
    for (u32 reason = 0; reason < 6; ++reason)
        EXPECT_TRUE(op(SCHEDOP_shutdown, sched_shutdown_t{reason}));
    EXPECT_EQ(m.shutdowns, (std::vector<int>{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(op_at(SCHEDOP_shutdown, 0).error(), Err::Fault);
    EXPECT_EQ(m.shutdowns.size(), 6u);
}

TEST_F(SchedOp, ShutdownCodeIsLatchedOnce) {
    EXPECT_TRUE(op(SCHEDOP_shutdown_code, sched_shutdown_t{SHUTDOWN_crash}));
    EXPECT_TRUE(op(SCHEDOP_shutdown_code, sched_shutdown_t{SHUTDOWN_reboot}));
    EXPECT_EQ(domain.latched_shutdown_code, SHUTDOWN_crash);
}

TEST_F(SchedOp, RemoteShutdownIsForThePrivileged) {
    EXPECT_EQ(op(SCHEDOP_remote_shutdown, sched_remote_shutdown_t{1, 0}).error(), Err::Perm);
    EXPECT_EQ(op(SCHEDOP_remote_shutdown, sched_remote_shutdown_t{77, 0}).error(), Err::Srch);
    domain.privileged = true;
    EXPECT_TRUE(op(SCHEDOP_remote_shutdown, sched_remote_shutdown_t{1, 3}));
    EXPECT_EQ(m.shutdowns, std::vector<int>{3});
}

TEST_F(SchedOp, WatchdogsFireUnlessPokedOrDestroyed) {
    EXPECT_EQ(op(SCHEDOP_watchdog, sched_watchdog_t{0, 0}).error(), Err::Inval);
    EXPECT_EQ(op(SCHEDOP_watchdog, sched_watchdog_t{1, 1}).error(), Err::Inval) << "not set up";
    ASSERT_EQ(op(SCHEDOP_watchdog, sched_watchdog_t{0, 2}).value(), 1);
    ASSERT_EQ(op(SCHEDOP_watchdog, sched_watchdog_t{0, 3}).value(), 2);
    EXPECT_EQ(op(SCHEDOP_watchdog, sched_watchdog_t{0, 3}).error(), Err::NoSpace);
    EXPECT_EQ(op(SCHEDOP_watchdog, sched_watchdog_t{3, 3}).error(), Err::Inval);
    EXPECT_EQ(op(SCHEDOP_watchdog, sched_watchdog_t{~0u, 3}).error(), Err::Inval);
    m.advance(second);
    EXPECT_EQ(op(SCHEDOP_watchdog, sched_watchdog_t{1, 2}).value(), 0);
    EXPECT_EQ(op(SCHEDOP_watchdog, sched_watchdog_t{2, 0}).value(), 0);
    m.advance(1900 * ms);
    EXPECT_TRUE(m.shutdowns.empty());
    m.advance(200 * ms);
    EXPECT_EQ(m.shutdowns, std::vector<int>{SHUTDOWN_watchdog});
}

TEST_F(SchedOp, PinOverrideIsDom0sAndUndone) {
    EXPECT_EQ(op(SCHEDOP_pin_override, sched_pin_override_t{0}).error(), Err::Perm);
    domain.privileged = true;
    EXPECT_EQ(op(SCHEDOP_pin_override, sched_pin_override_t{-1}).error(), Err::Inval);
    EXPECT_EQ(op(SCHEDOP_pin_override, sched_pin_override_t{1}).error(), Err::Inval);
    EXPECT_EQ(op(SCHEDOP_pin_override, sched_pin_override_t{64}).error(), Err::Inval);
    const auto before = vcpu.sched.affinity;
    EXPECT_TRUE(op(SCHEDOP_pin_override, sched_pin_override_t{0}));
    EXPECT_EQ(vcpu.sched.affinity, 1u);
    EXPECT_EQ(op(SCHEDOP_pin_override, sched_pin_override_t{0}).error(), Err::Busy);
    EXPECT_TRUE(op(SCHEDOP_pin_override, sched_pin_override_t{-1}));
    EXPECT_EQ(vcpu.sched.affinity, before);
}

TEST_F(SchedOp, UnknownAndOldCommands) {
    EXPECT_EQ(op_at(99, argument_at).error(), Err::NoSys);
    Call call = m.call_of(vcpu);
    EXPECT_EQ(sched_op_compat(call, SCHEDOP_poll, 0).error(), Err::NoSys);
    EXPECT_TRUE(sched_op_compat(call, SCHEDOP_shutdown, SHUTDOWN_reboot));
    EXPECT_EQ(m.shutdowns, std::vector<int>{SHUTDOWN_reboot});
    EXPECT_TRUE(sched_op_compat(call, SCHEDOP_block, 0));
    EXPECT_FALSE(runs());
}

TEST_F(SchedOp, SetTimerOp) {
    Call call = m.call_of(vcpu);
    ASSERT_TRUE(set_timer_op(call, m.now + 5 * ms));
    m.advance(4 * ms);
    EXPECT_TRUE(m.virqs.empty());
    m.advance(ms);
    ASSERT_EQ(m.virqs.size(), 1u);
    EXPECT_EQ(m.virqs[0], (std::pair{&vcpu, u32{VIRQ_TIMER}}));
    ASSERT_TRUE(set_timer_op(call, 1)) << "the past";
    m.exit_paths();
    EXPECT_EQ(m.virqs.size(), 2u);
    ASSERT_TRUE(set_timer_op(call, m.now + ms));
    ASSERT_TRUE(set_timer_op(call, 0)) << "disarms";
    m.advance(second);
    EXPECT_EQ(m.virqs.size(), 2u);
    for (u64 wild : {~u64{0}, u64{1} << 63, u64{1} << 62}) {
        const usize before = m.virqs.size();
        ASSERT_TRUE(set_timer_op(call, wild));
        m.advance(100 * ms);
        EXPECT_EQ(m.virqs.size(), before + 1) << wild;
    }
}

TEST_F(SchedOp, TheOneShotTimerWakesABlockedVcpu) {
    Call call = m.call_of(vcpu);
    ASSERT_TRUE(set_timer_op(call, m.now + 5 * ms));
    m.as(vcpu, [&] { block(vcpu); });
    m.advance(4 * ms);
    EXPECT_FALSE(runs());
    m.advance(ms);
    EXPECT_TRUE(runs());
}

TEST_F(SchedOp, ThePeriodicTimerTicksWhileItRunsAndDoesNotWake) {
    set_periodic_timer(vcpu, 10 * ms);
    m.advance(second);
    EXPECT_NEAR(static_cast<double>(m.virqs.size()), 100, 2);
    vcpu.info->evtchn_upcall_pending = 0;
    m.as(vcpu, [&] { block(vcpu); });
    m.virqs.clear();
    m.advance(second);
    EXPECT_TRUE(m.virqs.empty());
    EXPECT_FALSE(runs());
    vcpu.info->evtchn_upcall_pending = 1;
    notify(vcpu);
    m.exit_paths();
    EXPECT_EQ(m.virqs.size(), 1u) << "missed ticks are merged";
}

} // namespace
} // namespace domus::test
