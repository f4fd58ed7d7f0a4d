// A vcpu's state as a whole (VCPUOP_initialise, domctl setvcpucontext): every field judged, all of it given back.
#include "cpu.hpp"

#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/core/guest_context.hpp"
#include "hypervisor/pv/root.hpp"

#include <functional>
#include <memory>

namespace domus::test {
namespace {

class GuestContext : public MemoryTest {
protected:
    static constexpr u64 handler = 0xffffffff81000000;
    GuestContext() {
        fake::reset_context();
        as(g);
        t = build(g);
        user_l4 = g.frame();
        gdt = g.frame();
        for (Mfn frame : {user_l4, gdt})
            arch::zero_frame(frame);
        good = std::make_unique<vcpu_guest_context_t>();
        good->user_regs.rip = handler;
        good->user_regs.rflags = ~u64{0};
        good->user_regs.cs = FLAT_KERNEL_CS & ~3;
        good->user_regs.rbx = 0x77;
        good->ctrlreg[3] = xen_pfn_to_cr3(t.l4.n);
        good->ctrlreg[1] = xen_pfn_to_cr3(user_l4.n);
        good->gdt_frames[0] = gdt.n;
        good->gdt_ents = 512;
        good->event_callback_eip = good->failsafe_callback_eip = good->syscall_callback_eip = handler;
        good->trap_ctxt[14] = {14, 4, FLAT_KERNEL_CS, handler};
        good->gs_base_kernel = handler;
        good->flags = VGCF_in_kernel | VGCF_syscall_disables_events;
    }
    ~GuestContext() override { destroy(g); }

    Result<void> set(const vcpu_guest_context_t& context) {
        auto result = run([&](Call&) -> Result<i64> {
            TRY(set_guest_context(v, context));
            return i64{0};
        });
        return result ? Result<void>() : Result<void>(result.error());
    }

    Guest g = make_guest();
    Vcpu& v = g.vcpu();
    Tables t{};
    Mfn user_l4, gdt;
    std::unique_ptr<vcpu_guest_context_t> good;
};

TEST_F(GuestContext, IsTakenOverAndGivenBack) {
    ASSERT_TRUE(set(*good));
    EXPECT_EQ(v.regs.rip, handler);
    EXPECT_EQ(v.regs.rflags, guest_rflags_mask | guest_rflags_forced) << "IF forced; IOPL, NT, VM cleared";
    EXPECT_EQ(v.regs.cs & 3, 3u);
    EXPECT_EQ(v.regs.ss & 3, 3u);
    EXPECT_EQ(v.pv.iopl, 3);
    EXPECT_EQ(v.pv.kernel_root, base_of(t.l4).n);
    EXPECT_EQ(v.pv.user_root, base_of(user_l4).n);
    EXPECT_EQ(v.pv.gdt_frames[0], gdt.n);
    EXPECT_TRUE(v.pv.syscall_masks_events);
    auto back = std::make_unique<vcpu_guest_context_t>();
    std::memset(back.get(), 0xa5, sizeof *back);
    get_guest_context(v, *back);
    EXPECT_EQ(back->user_regs.rbx, 0x77u);
    EXPECT_EQ(back->ctrlreg[3], good->ctrlreg[3]);
    EXPECT_EQ(back->ctrlreg[1], good->ctrlreg[1]);
    EXPECT_EQ(back->trap_ctxt[14].address, handler);
    EXPECT_EQ(back->gs_base_kernel, handler);
    EXPECT_EQ(back->fpu_ctxt.x[100], 0) << "nothing of the hypervisor's memory is told";
    EXPECT_EQ(back->debugreg[5], 0u);
}

TEST_F(GuestContext, RefusesWhatNoGuestCanHave) {
    using Spoil = std::function<void(vcpu_guest_context_t&)>;
    constexpr u64 not_canonical = u64{1} << 47, in_hypervisor = 0xffff830000000000;
    const std::pair<const char*, Spoil> cases[] = {
        {"fs_base", [](auto& c) { c.fs_base = not_canonical; }},
        {"gs_base_kernel", [](auto& c) { c.gs_base_kernel = not_canonical; }},
        {"gs_base_user", [](auto& c) { c.gs_base_user = u64{1} << 62; }},
        {"event callback", [](auto& c) { c.event_callback_eip = in_hypervisor; }},
        {"failsafe callback", [](auto& c) { c.failsafe_callback_eip = not_canonical; }},
        {"syscall callback", [](auto& c) { c.syscall_callback_eip = in_hypervisor; }},
        {"trap handler", [](auto& c) { c.trap_ctxt[255].address = in_hypervisor; }},
        {"rip", [](auto& c) { c.user_regs.rip = not_canonical; }},
        {"gdt entries", [](auto& c) { c.gdt_ents = 14 * 512 + 1; }},
        {"gdt entries, wrapping", [](auto& c) { c.gdt_ents = ~u64{0}; }},
        {"gdt frame", [](auto& c) { c.gdt_frames[0] = fake::ram_frames; }},
        {"gdt frame beyond everything", [](auto& c) { c.gdt_frames[0] = ~u64{0}; }},
        {"ldt entries", [](auto& c) { c.ldt_ents = 8193; }},
        {"ldt base", [](auto& c) { c.ldt_ents = 512, c.ldt_base = in_hypervisor; }},
        {"ldt not mapped", [](auto& c) { c.ldt_ents = 512, c.ldt_base = 0x5000; }},
        {"root of another", [](auto& c) { c.ctrlreg[3] = xen_pfn_to_cr3(5); }},
        {"root beyond everything", [](auto& c) { c.ctrlreg[3] = ~u64{0}; }},
        {"user root", [](auto& c) { c.ctrlreg[1] = xen_pfn_to_cr3(fake::ram_frames); }},
    };
    for (const auto& [name, spoil] : cases) {
        auto context = std::make_unique<vcpu_guest_context_t>(*good);
        spoil(*context);
        EXPECT_FALSE(set(*context)) << name;
    }
    EXPECT_TRUE(set(*good)) << "none of them spoilt it";
}

// Frame 0 is in nobody's hands; a new vcpu's root is 0 too, which must not count as "the same root as before".
TEST_F(GuestContext, NeedsARoot) {
    good->ctrlreg[3] = 0;
    EXPECT_EQ(set(*good).error(), Err::Inval);
}

TEST_F(GuestContext, IsSetOnce) {
    ASSERT_TRUE(set(*good));
    v.initialised = true;
    EXPECT_EQ(set(*good).error(), Err::Busy);
}

TEST_F(GuestContext, StopsAndGoesOn) {
    for (u32 i = 1; i < 20; ++i) {
        const Mfn l1 = g.frame();
        arch::zero_frame(l1);
        Guest::at(t.l2, i) = entry::make(l1, rw);
    }
    m.yield_every = 1;
    EXPECT_TRUE(set(*good));
    EXPECT_GT(restarts, 10u);
    m.yield_every = 0;
}

TEST_F(GuestContext, HypercallPageHoldsTheNumbers) {
    u8 page[page_size] = {};
    fill_hypercall_page(page);
    for (u32 number = 0; number < 128; ++number) {
        const u8* stub = page + number * 32;
        const bool is_iret = number == __HYPERVISOR_iret;
        const u32 at = is_iret ? 5 : 4;
        EXPECT_EQ(stub[at - 1], 0xb8);
        EXPECT_EQ(stub[at], number & 0xff);
        EXPECT_EQ(stub[at + 4], 0x0f);
        EXPECT_EQ(stub[at + 5], 0x05);
        EXPECT_EQ(stub[at + 9] == 0xc3, !is_iret) << "iret does not come back";
    }
}

} // namespace
} // namespace domus::test
