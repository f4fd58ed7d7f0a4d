// Delivery by the FIFO ABI, consumed by a guest as the manual describes it.
#include "tests/unit/hypervisor/core/events/fifo_guest.hpp"

namespace domus::test {
namespace {

using Fifo = FifoTest;

TEST_F(Fifo, EventsArriveInOrder) {
    const u32 p = ipi(0), q = ipi(0), r = ipi(0);
    send(q);
    send(p);
    send(r);
    EXPECT_EQ(consume(0, 7), (std::vector<u32>{q, p, r}));
    EXPECT_EQ(m.notified(*d.vcpus[0]), 1u) << "one upcall for the queue";
    EXPECT_TRUE(consume(0, 7).empty());
    send(p);
    EXPECT_EQ(consume(0, 7), (std::vector<u32>{p}));
}

TEST_F(Fifo, PendingOnceUntilConsumed) {
    const u32 p = ipi(0);
    send(p);
    send(p);
    EXPECT_EQ(consume(0, 7), (std::vector<u32>{p}));
}

TEST_F(Fifo, OnePortAgainAndAgainIsNotLinkedToItself) {
    const u32 p = ipi(0);
    for (int i = 0; i < 3; ++i) {
        send(p);
        EXPECT_EQ(consume(0, 7), (std::vector<u32>{p}));
    }
    EXPECT_EQ(*word(p), 0u);
}

TEST_F(Fifo, PrioritiesHaveQueuesOfTheirOwn) {
    const u32 p = ipi(0), q = ipi(0);
    set_priority(q, 2);
    send(p);
    send(q);
    EXPECT_EQ(control(0)->ready, 1u << 7 | 1u << 2);
    EXPECT_EQ(consume(0, 2), (std::vector<u32>{q}));
    EXPECT_EQ(consume(0, 7), (std::vector<u32>{p}));
    evtchn_set_priority_t bad{p, 16};
    EXPECT_EQ(m.events(d, EVTCHNOP_set_priority, &bad), minus(Err::Inval));
}

TEST_F(Fifo, MaskedIsNotLinkedUntilUnmasked) {
    const u32 p = ipi(0);
    *word(p) |= 1u << EVTCHN_FIFO_MASKED;
    send(p);
    EXPECT_EQ(*word(p), 1u << EVTCHN_FIFO_MASKED | 1u << EVTCHN_FIFO_PENDING);
    EXPECT_TRUE(consume(0, 7).empty());
    evtchn_unmask_t op{p};
    EXPECT_EQ(m.events(d, EVTCHNOP_unmask, &op), 0);
    EXPECT_EQ(consume(0, 7), (std::vector<u32>{p}));
}

TEST_F(Fifo, MovedPortDoesNotCorruptTheOldQueue) {
    const u32 p = ipi_like(0), q = ipi(0);
    send(p);
    EXPECT_EQ(consume(0, 7), (std::vector<u32>{p})); // p is still remembered as the tail of queue 7
    set_priority(p, 3);
    send(p); // now in queue 3, not consumed
    send(q); // must start queue 7 anew, not hang behind p
    EXPECT_EQ(consume(0, 7), (std::vector<u32>{q}));
    EXPECT_EQ(consume(0, 3), (std::vector<u32>{p}));
}

TEST_F(Fifo, MovedToAnotherVcpu) {
    const u32 p = ipi_like(0);
    send(p);
    EXPECT_EQ(consume(0, 7), (std::vector<u32>{p}));
    evtchn_bind_vcpu_t move{p, 1};
    ASSERT_EQ(m.events(d, EVTCHNOP_bind_vcpu, &move), 0);
    send(p);
    EXPECT_TRUE(consume(0, 7).empty());
    EXPECT_EQ(consume(1, 7), (std::vector<u32>{p}));
}

TEST_F(Fifo, EventsBeforeTheArrayPageAreNotLost) {
    u32 last = 0;
    while (last < 1030)
        last = ipi(0); // 1024 and up lie in the second page, which is not there
    send(last);
    EXPECT_TRUE(consume(0, 7).empty());
    EXPECT_TRUE(d.events.is_pending(PortNo(last)).value());
    expand();
    EXPECT_EQ(consume(0, 7), (std::vector<u32>{last}));
}

TEST_F(MachineTest, EventsOfTheTwoLevelAbiAreCarriedOver) {
    Domain& d = m.make_domain(1);
    evtchn_bind_ipi_t bind{.vcpu = 0};
    ASSERT_EQ(m.events(d, EVTCHNOP_bind_ipi, &bind), 0);
    evtchn_send_t send{bind.port};
    ASSERT_EQ(m.events(d, EVTCHNOP_send, &send), 0);
    const Mfn control = m.page(d), array = m.page(d);
    evtchn_init_control_t init{.control_gfn = control.n, .offset = 0, .vcpu = 0};
    ASSERT_EQ(m.events(d, EVTCHNOP_init_control, &init), 0);
    evtchn_expand_array_t expand{array.n};
    ASSERT_EQ(m.events(d, EVTCHNOP_expand_array, &expand), 0);
    EXPECT_EQ(m.at<evtchn_fifo_control_block>(control)->head[7], bind.port);
}

TEST_F(Fifo, ResetGivesTheFramesBack) {
    const Mfn frame(frame_info_of_control(0));
    EXPECT_EQ(release_domain_frame(d, frame).ok(), true); // the guest gives it away, but the queue still holds it
    EXPECT_EQ(frame_info(frame).owner.load(), &d);
    evtchn_reset_t op{DOMID_SELF};
    ASSERT_EQ(m.events(d, EVTCHNOP_reset, &op), 0);
    EXPECT_EQ(frame_info(frame).owner.load(), nullptr);
    // The 2-level ABI is in force again.
    const u32 p = ipi(0);
    send(p);
    EXPECT_NE(d.shared->evtchn_pending[0], 0u);
}

TEST_F(Fifo, SetUpOnce) {
    const Mfn page = m.page(d);
    evtchn_init_control_t init{.control_gfn = page.n, .offset = 0, .vcpu = 0};
    EXPECT_EQ(m.events(d, EVTCHNOP_init_control, &init), minus(Err::Inval));
    EXPECT_TRUE(release_domain_frame(d, page));
    EXPECT_EQ(frame_info(page).owner.load(), nullptr) << "a refused set-up holds nothing";
}

TEST_F(MachineTest, FifoOperationsNeedTheAbi) {
    Domain& d = m.make_domain(1);
    evtchn_expand_array_t expand{m.page(d).n};
    EXPECT_EQ(m.events(d, EVTCHNOP_expand_array, &expand), minus(Err::OpNotSupp));
    evtchn_set_priority_t priority{1, 3};
    EXPECT_EQ(m.events(d, EVTCHNOP_set_priority, &priority), minus(Err::NoSys));
}

} // namespace
} // namespace domus::test
