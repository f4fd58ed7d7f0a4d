// Delivery by the 2-level ABI: pending bit, selector, upcall byte, in that order and only on 0 -> 1.
#include "tests/unit/hypervisor/core/events/machine.hpp"

namespace domus::test {
namespace {

struct TwoLevel : MachineTest {
    Domain& d = m.make_domain(1, 2);
    Vcpu& v0 = *d.vcpus[0];
    Vcpu& v1 = *d.vcpus[1];

    u32 ipi(u32 vcpu) {
        evtchn_bind_ipi_t op{.vcpu = vcpu};
        EXPECT_EQ(m.events(d, EVTCHNOP_bind_ipi, &op), 0);
        return op.port;
    }
    i64 send(u32 port) {
        evtchn_send_t op{port};
        return m.events(d, EVTCHNOP_send, &op);
    }
};

TEST_F(TwoLevel, SetsPendingSelectorAndUpcall) {
    const u32 port = ipi(1);
    EXPECT_EQ(send(port), 0);
    EXPECT_EQ(d.shared->evtchn_pending[port / 64], u64{1} << port % 64);
    EXPECT_EQ(v1.info->evtchn_pending_sel, u64{1} << port / 64);
    EXPECT_EQ(v1.info->evtchn_upcall_pending, 1);
    EXPECT_EQ(v0.info->evtchn_upcall_pending, 0);
    EXPECT_EQ(m.notified(v1), 1u);
    EXPECT_EQ(m.notified(v0), 0u);
}

TEST_F(TwoLevel, SecondSendWhilePendingDoesNothing) {
    const u32 port = ipi(0);
    EXPECT_EQ(send(port), 0);
    EXPECT_EQ(send(port), 0);
    EXPECT_EQ(m.notified(v0), 1u);
}

TEST_F(TwoLevel, MaskedPortOnlyBecomesPending) {
    const u32 port = ipi(0);
    d.shared->evtchn_mask[port / 64] |= u64{1} << port % 64;
    EXPECT_EQ(send(port), 0);
    EXPECT_NE(d.shared->evtchn_pending[port / 64], 0u);
    EXPECT_EQ(v0.info->evtchn_pending_sel, 0u);
    EXPECT_EQ(v0.info->evtchn_upcall_pending, 0);
    EXPECT_TRUE(m.notifications.empty());
}

TEST_F(TwoLevel, UnmaskDeliversWhatIsPending) {
    const u32 port = ipi(0);
    d.shared->evtchn_mask[port / 64] |= u64{1} << port % 64;
    EXPECT_EQ(send(port), 0);
    evtchn_unmask_t op{port};
    EXPECT_EQ(m.events(d, EVTCHNOP_unmask, &op), 0);
    EXPECT_EQ(d.shared->evtchn_mask[port / 64], 0u);
    EXPECT_EQ(v0.info->evtchn_upcall_pending, 1);
    EXPECT_EQ(m.notified(v0), 1u);
}

TEST_F(TwoLevel, UnmaskOfAnUnmaskedPortDoesNotDeliverAgain) {
    const u32 port = ipi(0);
    EXPECT_EQ(send(port), 0);
    v0.info->evtchn_pending_sel = 0; // the guest is looking through the word
    evtchn_unmask_t op{port};
    EXPECT_EQ(m.events(d, EVTCHNOP_unmask, &op), 0);
    EXPECT_EQ(v0.info->evtchn_pending_sel, 0u);
}

TEST_F(TwoLevel, HasPendingEventRespectsTheMaskByte) {
    EXPECT_FALSE(has_pending_event(v0));
    EXPECT_EQ(send(ipi(0)), 0);
    EXPECT_TRUE(has_pending_event(v0));
    v0.info->evtchn_upcall_mask = 1;
    EXPECT_FALSE(has_pending_event(v0));
}

TEST_F(TwoLevel, PollingVcpuWakesForAMaskedPort) {
    const u32 port = ipi(0);
    d.shared->evtchn_mask[port / 64] |= u64{1} << port % 64;
    v1.poll_port.store(port);
    d.pollers.store(1);
    EXPECT_EQ(send(port), 0);
    EXPECT_EQ(m.notified(v1), 1u);
    EXPECT_TRUE(d.events.is_pending(PortNo(port)).value());
}

TEST_F(TwoLevel, PollingVcpuSleepsThroughOtherPorts) {
    const u32 port = ipi(0), other = ipi(0);
    d.shared->evtchn_mask[0] = ~u64{0};
    v1.poll_port.store(other);
    d.pollers.store(1);
    EXPECT_EQ(send(port), 0);
    EXPECT_EQ(m.notified(v1), 0u);
    v1.poll_port.store(~u64{0}); // several: any event wakes it
    EXPECT_EQ(send(other), 0);
    EXPECT_EQ(m.notified(v1), 1u);
}

TEST_F(TwoLevel, MovedVcpuInfoLosesNothing) {
    vcpu_info_t moved{};
    v0.info = &moved;
    d.events.on_vcpu_info_moved(v0);
    EXPECT_EQ(moved.evtchn_pending_sel, ~u64{0});
    EXPECT_EQ(moved.evtchn_upcall_pending, 1);
    moved = {};
    EXPECT_EQ(send(ipi(0)), 0);
    EXPECT_EQ(moved.evtchn_upcall_pending, 1) << "events go to where the guest looks";
    v0.info = &d.shared->vcpu_info[0];
}

TEST_F(TwoLevel, VirqGoesToItsVcpuOnly) {
    evtchn_bind_virq_t op{.virq = VIRQ_TIMER, .vcpu = 1};
    ASSERT_EQ(m.events(d, EVTCHNOP_bind_virq, &op), 0);
    d.events.raise_virq(v0, VIRQ_TIMER);
    EXPECT_TRUE(m.notifications.empty());
    d.events.raise_virq(v1, VIRQ_TIMER);
    EXPECT_EQ(m.notified(v1), 1u);
}

TEST_F(TwoLevel, GlobalVirqFollowsBindVcpu) {
    evtchn_bind_virq_t op{.virq = VIRQ_DOM_EXC, .vcpu = 0};
    ASSERT_EQ(m.events(d, EVTCHNOP_bind_virq, &op), 0);
    evtchn_bind_vcpu_t move{op.port, 1};
    ASSERT_EQ(m.events(d, EVTCHNOP_bind_vcpu, &move), 0);
    d.events.raise_global_virq(VIRQ_DOM_EXC);
    EXPECT_EQ(m.notified(v1), 1u);
    EXPECT_EQ(m.notified(v0), 0u);
    // Closed, it can be bound again.
    evtchn_close_t close{op.port};
    ASSERT_EQ(m.events(d, EVTCHNOP_close, &close), 0);
    ASSERT_EQ(m.events(d, EVTCHNOP_bind_virq, &op), 0);
}

TEST_F(TwoLevel, GlobalVirqOfTheMachineGoesToItsHandler) {
    evtchn_bind_virq_t op{.virq = VIRQ_CON_RING, .vcpu = 0};
    ASSERT_EQ(m.events(d, EVTCHNOP_bind_virq, &op), 0);
    ASSERT_TRUE(set_global_virq_handler(d, VIRQ_CON_RING));
    raise_global_virq_of_machine(VIRQ_CON_RING);
    EXPECT_EQ(m.notified(v0), 1u);
    Domain& other = m.make_domain(2);
    EXPECT_EQ(set_global_virq_handler(other, VIRQ_CON_RING).error(), Err::Busy);
    EXPECT_EQ(set_global_virq_handler(other, VIRQ_TIMER).error(), Err::Inval);
    m.kill(d); // its handler place becomes free
    EXPECT_TRUE(set_global_virq_handler(other, VIRQ_CON_RING));
}

} // namespace
} // namespace domus::test
