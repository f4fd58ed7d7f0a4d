// What a hostile guest tries against event channels (the classes "event channels" and "FIFO event channels" of
// docs/security.md): each must cost nobody but itself.
#include "tests/unit/hypervisor/core/events/fifo_guest.hpp"

namespace domus::test {
namespace {

using Hostile = FifoTest;

TEST_F(Hostile, ControlBlockMustLieInItsPage) {
    Domain& e = m.make_domain(3);
    const Mfn page = m.page(e);
    for (u32 offset : {4096u - 64u, 4096u, 4095u, ~0u, ~7u, 4u}) {
        evtchn_init_control_t init{.control_gfn = page.n, .offset = offset, .vcpu = 0};
        EXPECT_EQ(m.events(e, EVTCHNOP_init_control, &init), minus(Err::Inval)) << offset;
    }
    evtchn_init_control_t init{.control_gfn = page.n, .offset = 0, .vcpu = 1};
    EXPECT_EQ(m.events(e, EVTCHNOP_init_control, &init), minus(Err::NoEnt));
    init = {.control_gfn = page.n, .offset = 4096 - 72, .vcpu = 0};
    EXPECT_EQ(m.events(e, EVTCHNOP_init_control, &init), 0) << "the last place that fits";
}

TEST_F(Hostile, FramesMustBeTheGuestsOwnAndWritable) {
    Domain& e = m.make_domain(3);
    for (u64 frame : {controls[0].n, u64{0}, ram_frames, ~u64{0}, u64{1} << 52}) {
        evtchn_init_control_t init{.control_gfn = frame, .offset = 0, .vcpu = 0};
        EXPECT_LT(m.events(e, EVTCHNOP_init_control, &init), 0) << frame;
    }
    // A page table is not to be written.
    const Mfn table = m.page(e);
    ASSERT_TRUE(get_frame_and_type(table, e, FrameType::L1));
    evtchn_init_control_t init{.control_gfn = table.n, .offset = 0, .vcpu = 0};
    EXPECT_LT(m.events(e, EVTCHNOP_init_control, &init), 0);
    put_frame_and_type(table);
    // And what is a control block cannot become a page table.
    EXPECT_EQ(get_frame_and_type(controls[0], d, FrameType::L1).error(), Err::Busy);
}

TEST_F(Hostile, LinkWordsAndHeadsAreNeverFollowed) {
    const u32 p = ipi(0), q = ipi(0);
    send(p);
    // Links to nowhere, heads to nowhere, everything marked.
    *word(p) |= EVTCHN_FIFO_LINK_MASK;
    control(0)->head[7] = ~0u;
    for (u32 i = 1; i < 1024; ++i)
        *word(i) |= 0x1ffff;
    send(q);
    send(p);
    EXPECT_EQ(*word(p) & EVTCHN_FIFO_LINK_MASK, q) << "appended behind what the hypervisor remembers";
}

TEST_F(Hostile, TailThatSaysLinkedForeverStopsNobody) {
    const u32 p = ipi(0), q = ipi(0), r = ipi(1);
    send(p);
    for (int i = 0; i < 1000; ++i)
        send(q); // never consumed
    send(r);
    EXPECT_EQ(consume(1, 7), (std::vector<u32>{r}));
}

TEST_F(Hostile, VcpuWithoutControlBlock) {
    Domain& e = m.make_domain(3, 2);
    const Mfn control = m.page(e), array = m.page(e);
    evtchn_init_control_t init{.control_gfn = control.n, .offset = 0, .vcpu = 0};
    ASSERT_EQ(m.events(e, EVTCHNOP_init_control, &init), 0);
    evtchn_expand_array_t expand{array.n};
    ASSERT_EQ(m.events(e, EVTCHNOP_expand_array, &expand), 0);
    evtchn_bind_ipi_t bind{.vcpu = 1};
    ASSERT_EQ(m.events(e, EVTCHNOP_bind_ipi, &bind), 0);
    evtchn_send_t send{bind.port};
    EXPECT_EQ(m.events(e, EVTCHNOP_send, &send), 0);
    EXPECT_EQ(m.at<event_word_t>(array)[bind.port], 1u << EVTCHN_FIFO_PENDING) << "pending, not linked";
}

TEST_F(Hostile, ArrayIsBounded) {
    const Mfn page = m.page(d);
    evtchn_expand_array_t op{page.n};
    int pages = 0;
    while (m.events(d, EVTCHNOP_expand_array, &op) == 0)
        ++pages;
    EXPECT_EQ(pages, 127); // one was there; the same frame again and again is the guest's own trouble
    EXPECT_EQ(m.events(d, EVTCHNOP_expand_array, &op), minus(Err::NoSpace));
}

TEST_F(Hostile, UnknownCommandsAndBadPointers) {
    evtchn_send_t op{1};
    EXPECT_EQ(m.events(d, 14, &op), minus(Err::NoSys));
    EXPECT_EQ(m.events(d, ~0u, &op), minus(Err::NoSys));
    for (u32 command = 0; command < 14; ++command)
        EXPECT_EQ(m.events(d, command, nullptr), minus(Err::Fault)) << command;
}

TEST_F(Hostile, ManyBindingsOfADyingPeer) {
    Domain& e = m.make_domain(3);
    std::vector<u32> mine;
    for (int i = 0; i < 200; ++i) {
        evtchn_alloc_unbound_t listen{.dom = DOMID_SELF, .remote_dom = 3};
        ASSERT_EQ(m.events(d, EVTCHNOP_alloc_unbound, &listen), 0);
        evtchn_bind_interdomain_t bind{.remote_dom = 1, .remote_port = listen.port};
        ASSERT_EQ(m.events(e, EVTCHNOP_bind_interdomain, &bind), 0);
        mine.push_back(listen.port);
    }
    m.kill(e);
    for (u32 port : mine) {
        evtchn_status_t status{.dom = DOMID_SELF, .port = port};
        ASSERT_EQ(m.events(d, EVTCHNOP_status, &status), 0);
        EXPECT_EQ(status.status, u32{EVTCHNSTAT_unbound});
    }
}

// Random operations with random arguments on three domains: no crash, no lost memory (checked by the machine).
TEST_F(Hostile, RandomOperations) {
    Domain& e = m.make_domain(3, 2, true);
    Domain& f = m.make_domain(4, 1);
    Domain* all[] = {&d, &e, &f};
    u64 state = 88172645463325252ull;
    auto next = [&] {
        state ^= state << 13;
        state ^= state >> 7;
        return state ^= state << 17;
    };
    for (int i = 0; i < 60000; ++i) {
        u32 op[8];
        for (u32& part : op)
            part = static_cast<u32>(next() % 3 == 0 ? next() : next() % 12);
        const u32 command = next() % 40 == 0 ? u32{EVTCHNOP_reset} : next() % 14;
        if (command == EVTCHNOP_reset && next() % 10 != 0)
            continue;
        if (command == EVTCHNOP_init_control || command == EVTCHNOP_expand_array)
            reinterpret_cast<u64*>(op)[0] = next() % 3 ? m.at<u8>(Mfn(0)) != nullptr ? controls[0].n : 0 : next();
        (void)m.events(*all[next() % 3], command, op);
    }
}

} // namespace
} // namespace domus::test
