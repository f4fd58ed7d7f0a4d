// The life of ports: every sub-operation's answers, pairs across domains, resets, deaths.
#include "tests/unit/hypervisor/core/events/machine.hpp"

namespace domus::test {
namespace {

struct Ports : MachineTest {
    Domain& zero = m.make_domain(7, 2, true); // privileged
    Domain& a = m.make_domain(1, 2);
    Domain& b = m.make_domain(2);

    u32 unbound(Domain& d, u16 remote) {
        evtchn_alloc_unbound_t op{.dom = DOMID_SELF, .remote_dom = remote};
        EXPECT_EQ(m.events(d, EVTCHNOP_alloc_unbound, &op), 0);
        return op.port;
    }
    i64 bind(Domain& d, u16 remote, u32 port, u32* local = nullptr) {
        evtchn_bind_interdomain_t op{.remote_dom = remote, .remote_port = port};
        const i64 result = m.events(d, EVTCHNOP_bind_interdomain, &op);
        if (local)
            *local = op.local_port;
        return result;
    }
    evtchn_status_t status(Domain& d, u32 port) {
        evtchn_status_t op{.dom = DOMID_SELF, .port = port};
        EXPECT_EQ(m.events(d, EVTCHNOP_status, &op), 0);
        return op;
    }
    i64 send(Domain& d, u32 port) {
        evtchn_send_t op{port};
        return m.events(d, EVTCHNOP_send, &op);
    }
    i64 close(Domain& d, u32 port) {
        evtchn_close_t op{port};
        return m.events(d, EVTCHNOP_close, &op);
    }
    bool is_pending(Domain& d, u32 port) { return d.events.is_pending(PortNo(port)).value(); }
};

TEST_F(Ports, PairSendsBothWays) {
    const u32 pa = unbound(a, 2);
    u32 pb = 0;
    ASSERT_EQ(bind(b, 1, pa, &pb), 0);
    EXPECT_TRUE(is_pending(b, pb)) << "binding always makes the new end pending";
    EXPECT_EQ(send(b, pb), 0);
    EXPECT_TRUE(is_pending(a, pa));
    b.shared->evtchn_pending[0] = 0;
    EXPECT_EQ(send(a, pa), 0);
    EXPECT_TRUE(is_pending(b, pb));
    const auto s = status(a, pa);
    EXPECT_EQ(s.status, u32{EVTCHNSTAT_interdomain});
    EXPECT_EQ(s.u.interdomain.dom, 2);
    EXPECT_EQ(s.u.interdomain.port, pb);
}

TEST_F(Ports, LoopbackPair) {
    const u32 p = unbound(a, 1);
    u32 q = 0;
    ASSERT_EQ(bind(a, DOMID_SELF, p, &q), 0);
    EXPECT_NE(p, q);
    EXPECT_EQ(send(a, q), 0);
    EXPECT_TRUE(is_pending(a, p));
    EXPECT_EQ(close(a, p), 0);
    EXPECT_EQ(status(a, q).status, u32{EVTCHNSTAT_unbound});
    EXPECT_EQ(close(a, q), 0);
}

TEST_F(Ports, OnlyTheNamedDomainMayBind) {
    const u32 pa = unbound(a, 2);
    EXPECT_EQ(bind(zero, 1, pa), minus(Err::Inval));
    EXPECT_EQ(bind(b, 1, pa + 1), minus(Err::Inval));
    EXPECT_EQ(bind(b, 99, pa), minus(Err::Srch));
    EXPECT_EQ(bind(b, 1, pa), 0);
    EXPECT_EQ(bind(b, 1, pa), minus(Err::Inval)) << "bound once";
}

TEST_F(Ports, CloseLeavesThePeerUnbound) {
    const u32 pa = unbound(a, 2);
    u32 pb = 0;
    ASSERT_EQ(bind(b, 1, pa, &pb), 0);
    EXPECT_EQ(close(b, pb), 0);
    const auto s = status(a, pa);
    EXPECT_EQ(s.status, u32{EVTCHNSTAT_unbound});
    EXPECT_EQ(s.u.unbound.dom, 2);
    EXPECT_EQ(send(a, pa), 0) << "nobody listens: dropped";
    EXPECT_EQ(bind(b, 1, pa), 0) << "and it can be bound again";
}

TEST_F(Ports, DeathOfOneEndClosesItAndFreesTheOther) {
    const u32 pa = unbound(a, 2);
    ASSERT_EQ(bind(b, 1, pa), 0);
    m.kill(b);
    EXPECT_EQ(status(a, pa).status, u32{EVTCHNSTAT_unbound});
    EXPECT_EQ(send(a, pa), 0);
}

TEST_F(Ports, DyingDomainOpensNothing) {
    a.life.store(Life::Dying);
    evtchn_bind_ipi_t op{.vcpu = 0};
    EXPECT_EQ(m.events(a, EVTCHNOP_bind_ipi, &op), minus(Err::Inval));
}

TEST_F(Ports, AllocUnboundForAnotherNeedsPrivilege) {
    evtchn_alloc_unbound_t op{.dom = 2, .remote_dom = 1};
    EXPECT_EQ(m.events(a, EVTCHNOP_alloc_unbound, &op), minus(Err::Perm));
    EXPECT_EQ(m.events(zero, EVTCHNOP_alloc_unbound, &op), 0);
    EXPECT_EQ(status(b, op.port).u.unbound.dom, 1);
    op.dom = 99;
    EXPECT_EQ(m.events(zero, EVTCHNOP_alloc_unbound, &op), minus(Err::Srch));
}

TEST_F(Ports, ClosedPortsCannotBeUsed) {
    const u32 p = unbound(a, 2);
    EXPECT_EQ(close(a, p), 0);
    EXPECT_EQ(close(a, p), minus(Err::Inval));
    EXPECT_EQ(send(a, p), minus(Err::Inval));
    EXPECT_EQ(close(a, 0), minus(Err::Inval));
    EXPECT_EQ(send(a, ~0u), minus(Err::Inval));
    EXPECT_EQ(status(a, p).status, u32{EVTCHNSTAT_closed});
}

TEST_F(Ports, ANewOwnerOfANumberSeesNoOldEvent) {
    evtchn_bind_ipi_t op{.vcpu = 0};
    ASSERT_EQ(m.events(a, EVTCHNOP_bind_ipi, &op), 0);
    ASSERT_EQ(send(a, op.port), 0);
    ASSERT_EQ(close(a, op.port), 0);
    EXPECT_FALSE(is_pending(a, op.port));
}

TEST_F(Ports, VirqErrors) {
    evtchn_bind_virq_t op{.virq = NR_VIRQS, .vcpu = 0};
    EXPECT_EQ(m.events(a, EVTCHNOP_bind_virq, &op), minus(Err::Inval));
    op = {.virq = VIRQ_CONSOLE, .vcpu = 1};
    EXPECT_EQ(m.events(a, EVTCHNOP_bind_virq, &op), minus(Err::Inval)) << "global ones start at vcpu 0";
    op = {.virq = VIRQ_TIMER, .vcpu = 2};
    EXPECT_EQ(m.events(a, EVTCHNOP_bind_virq, &op), minus(Err::NoEnt));
    op.vcpu = 1;
    EXPECT_EQ(m.events(a, EVTCHNOP_bind_virq, &op), 0);
    EXPECT_EQ(m.events(a, EVTCHNOP_bind_virq, &op), minus(Err::Exist));
    EXPECT_EQ(send(a, op.port), minus(Err::Inval)) << "virqs are raised by the hypervisor only";
    evtchn_bind_vcpu_t move{op.port, 0};
    EXPECT_EQ(m.events(a, EVTCHNOP_bind_vcpu, &move), minus(Err::Inval)) << "per-vcpu: cannot move";
}

TEST_F(Ports, BindVcpuErrors) {
    const u32 p = unbound(a, 2);
    evtchn_bind_vcpu_t op{p, 2};
    EXPECT_EQ(m.events(a, EVTCHNOP_bind_vcpu, &op), minus(Err::NoEnt));
    op.vcpu = 1;
    EXPECT_EQ(m.events(a, EVTCHNOP_bind_vcpu, &op), 0);
    EXPECT_EQ(status(a, p).vcpu, 1u);
    op.port = 500;
    EXPECT_EQ(m.events(a, EVTCHNOP_bind_vcpu, &op), minus(Err::Inval));
}

TEST_F(Ports, PirqWithoutRouting) {
    evtchn_bind_pirq_t op{.pirq = 4};
    EXPECT_EQ(m.events(a, EVTCHNOP_bind_pirq, &op), minus(Err::Inval));
}

TEST_F(Ports, LimitOfPorts) {
    a.max_event_port = 9;
    for (int i = 1; i <= 9; ++i)
        EXPECT_EQ(unbound(a, 2), static_cast<u32>(i));
    evtchn_alloc_unbound_t op{.dom = DOMID_SELF, .remote_dom = 2};
    EXPECT_EQ(m.events(a, EVTCHNOP_alloc_unbound, &op), minus(Err::NoSpace));
    EXPECT_EQ(close(a, 4), 0);
    EXPECT_EQ(unbound(a, 2), 4u) << "the lowest free number is taken";
}

TEST_F(Ports, TwoLevelEndsAt4095WhateverTheLimit) {
    a.max_event_port = ~0u;
    u32 last = 0;
    evtchn_alloc_unbound_t op{.dom = DOMID_SELF, .remote_dom = 2};
    while (m.events(a, EVTCHNOP_alloc_unbound, &op) == 0)
        last = op.port;
    EXPECT_EQ(last, 4095u);
    EXPECT_EQ(m.events(a, EVTCHNOP_alloc_unbound, &op), minus(Err::NoSpace));
}

TEST_F(Ports, ResetClosesAllAndCanStopAndGoOn) {
    for (int i = 0; i < 300; ++i)
        unbound(a, 2);
    const u32 last = unbound(a, 2);
    u32 pb = 0;
    ASSERT_EQ(bind(b, 1, last, &pb), 0);
    m.work_waits = true;
    evtchn_reset_t op{DOMID_SELF};
    EXPECT_EQ(m.events(a, EVTCHNOP_reset, &op), 0);
    EXPECT_GT(m.yields, 2u);
    EXPECT_EQ(status(a, last).status, u32{EVTCHNSTAT_closed});
    EXPECT_EQ(status(b, pb).status, u32{EVTCHNSTAT_unbound});
    EXPECT_EQ(unbound(a, 2), 1u);
    op.dom = 2;
    EXPECT_EQ(m.events(a, EVTCHNOP_reset, &op), minus(Err::Perm));
    EXPECT_EQ(m.events(zero, EVTCHNOP_reset, &op), 0);
    EXPECT_EQ(status(b, pb).status, u32{EVTCHNSTAT_closed});
}

} // namespace
} // namespace domus::test
