// A guest that uses the FIFO ABI: set-up and the consumer's side of the queues, as the ABI's design describes it.
#pragma once

#include "hypervisor/core/fifo.hpp"
#include "tests/unit/hypervisor/core/events/machine.hpp"

namespace domus::test {

struct FifoTest : MachineTest {
    Domain& d = m.make_domain(1, 2);
    std::vector<Mfn> controls, arrays;
    u32 heads[2][EVTCHN_FIFO_MAX_QUEUES] = {};

    void SetUp() override {
        for (u32 v = 0; v < 2; ++v) {
            controls.push_back(m.page(d));
            evtchn_init_control_t init{.control_gfn = controls[v].n, .offset = v * 256, .vcpu = v};
            ASSERT_EQ(m.events(d, EVTCHNOP_init_control, &init), 0);
            ASSERT_EQ(init.link_bits, EVTCHN_FIFO_LINK_BITS);
        }
        d.max_event_port = 5000;
        expand();
    }
    void expand() {
        arrays.push_back(m.page(d));
        evtchn_expand_array_t op{arrays.back().n};
        ASSERT_EQ(m.events(d, EVTCHNOP_expand_array, &op), 0);
    }
    u64 frame_info_of_control(u32 v) { return controls[v].n; }
    evtchn_fifo_control_block* control(u32 v) {
        return reinterpret_cast<evtchn_fifo_control_block*>(m.at<u8>(controls[v]) + v * 256);
    }
    event_word_t* word(u32 port) { return m.at<event_word_t>(arrays[port / 1024]) + port % 1024; }

    u32 ipi(u32 vcpu) {
        evtchn_bind_ipi_t op{.vcpu = vcpu};
        EXPECT_EQ(m.events(d, EVTCHNOP_bind_ipi, &op), 0);
        return op.port;
    }
    // A port that may move between vcpus, sent to like the others: one end of a loopback pair; `send_end` is the other.
    std::map<u32, u32> send_end;
    u32 ipi_like(u32 vcpu) {
        evtchn_alloc_unbound_t listen{.dom = DOMID_SELF, .remote_dom = DOMID_SELF};
        EXPECT_EQ(m.events(d, EVTCHNOP_alloc_unbound, &listen), 0);
        evtchn_bind_interdomain_t bind{.remote_dom = DOMID_SELF, .remote_port = listen.port};
        EXPECT_EQ(m.events(d, EVTCHNOP_bind_interdomain, &bind), 0);
        EXPECT_EQ(consume(0, 7), (std::vector<u32>{bind.local_port}));
        evtchn_bind_vcpu_t move{listen.port, vcpu};
        EXPECT_EQ(m.events(d, EVTCHNOP_bind_vcpu, &move), 0);
        send_end[listen.port] = bind.local_port;
        return listen.port;
    }
    void send(u32 port) {
        evtchn_send_t op{send_end.contains(port) ? send_end[port] : port};
        EXPECT_EQ(m.events(d, EVTCHNOP_send, &op), 0);
    }
    void set_priority(u32 port, u32 priority) {
        evtchn_set_priority_t op{port, priority};
        EXPECT_EQ(m.events(d, EVTCHNOP_set_priority, &op), 0);
    }

    // Take everything out of one queue: the ports whose event was pending.
    std::vector<u32> consume(u32 v, u32 priority) {
        auto* block = control(v);
        u32& head = heads[v][priority];
        if (!(block->ready & 1u << priority) && head == 0)
            return {};
        block->ready &= ~(1u << priority);
        if (head == 0)
            head = block->head[priority];
        std::vector<u32> seen;
        while (head != 0 && seen.size() < 100) {
            const u32 port = head;
            event_word_t* w = word(port);
            head = *w & EVTCHN_FIFO_LINK_MASK;
            *w &= ~(1u << EVTCHN_FIFO_LINKED | u32{EVTCHN_FIFO_LINK_MASK});
            if (*w & 1u << EVTCHN_FIFO_PENDING && !(*w & 1u << EVTCHN_FIFO_MASKED)) {
                *w &= ~(1u << EVTCHN_FIFO_PENDING);
                seen.push_back(port);
            }
        }
        return seen;
    }
};

} // namespace domus::test
