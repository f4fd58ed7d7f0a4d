// A guest vcpu for tests of what comes in from it and how it goes on: traps, instructions, hypercalls about its state.
// Its code and data lie in the plain window, its registers are what the hypervisor finds on its stack.
#pragma once

#include "guest.hpp"

#include "hypervisor/core/hypercall.hpp"
#include "tests/fake/context.hpp"

namespace domus::test {

class CpuTest : public MemoryTest {
protected:
    static constexpr u64 code_at = fake::window_base;
    static constexpr u64 stack_at = fake::window_base + 0x8000; // top of the guest kernel's stack
    static constexpr u64 data_at = fake::window_base + 0x10000;
    static constexpr u64 handler = 0xffffffff81000000;
    static constexpr u64 in_hypervisor = 0xffff830000000000;
    static constexpr u64 not_canonical = u64{1} << 47;
    static constexpr u64 flag_interrupt = 1 << 9;

    explicit CpuTest(bool privileged = false) : g(make_guest(256, privileged)), v(g.vcpu()), r(v.regs) {
        fake::reset_context();
        t = build(g);
        user_l4 = g.frame();
        arch::zero_frame(user_l4);
        as(g);
        EXPECT_TRUE(ext(MMUEXT_NEW_BASEPTR, t.l4));
        EXPECT_TRUE(ext(MMUEXT_NEW_USER_BASEPTR, user_l4));
        v.pv.kernel_sp = stack_at;
        v.info->evtchn_upcall_mask = 0;
        r = {};
        r.rip = code_at;
        r.cs = FLAT_KERNEL_CS;
        r.ss = FLAT_KERNEL_SS;
        r.rsp = stack_at - 0x100;
        r.rflags = 2 | flag_interrupt;
    }
    ~CpuTest() override { destroy(g); }

    void code(std::vector<u8> bytes, u64 at = code_at) {
        std::memcpy(m.window(at, bytes.size()), bytes.data(), bytes.size());
        r.rip = at;
    }
    void user_mode() {
        v.pv.in_kernel = false;
        r.cs = FLAT_USER_CS64 | 3;
        r.rsp = 0x7000;
        arch::load_root(user_l4);
    }
    Call call() { return {v, *g.domain, {}}; }
    u64 word(u64 at) { return m.get<u64>(at); }
    void put_word(u64 at, u64 value) { m.put(value, at); }
    bool crashed() const {
        return g.domain->has_shut_down.load() && g.domain->shutdown_reason.load() == SHUTDOWN_crash;
    }
    void set_handler(u32 vector, u64 address = handler, u8 flags = 0, u16 cs = FLAT_KERNEL_CS) {
        v.pv.traps[vector] = {static_cast<u8>(vector), flags, cs, address};
    }

    Guest g;
    Vcpu& v;
    GuestRegs& r;
    Tables t{};
    Mfn user_l4;
    fake::Context& cpu = fake::context();
};

class PrivilegedCpuTest : public CpuTest {
protected:
    PrivilegedCpuTest() : CpuTest(true) {}
};

} // namespace domus::test
