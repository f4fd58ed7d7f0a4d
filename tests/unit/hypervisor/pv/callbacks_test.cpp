// Where the guest kernel is entered, and its debug registers: only at addresses that are the guest's to name.
#include "cpu.hpp"

#include "hypervisor/pv/hypercalls_pv.hpp"

namespace domus::test {
namespace {

using Callbacks = CpuTest;
using Debug = CpuTest;

constexpr u64 hostile_entries[] = {u64{1} << 47,       u64{1} << 62,       0xffff7fffffffffff,
                                   0xffff800000000000, 0xffff830000000000, 0xffff87ffffffffff};

TEST_F(Callbacks, AreGuestAddresses) {
    Call c = call();
    for (u16 type = 0; type < 10; ++type) {
        for (u64 address : hostile_entries) {
            m.put(callback_register_t{type, 0, address}, data_at);
            EXPECT_EQ(callback_op(c, CALLBACKOP_register, {data_at}).error(), Err::Inval) << type;
        }
        m.put(callback_register_t{type, CALLBACKF_mask_events, handler}, data_at);
        EXPECT_EQ(callback_op(c, CALLBACKOP_register, {data_at}).ok(), type != 3 && type != 6 && type < 8) << type;
    }
    EXPECT_EQ(v.pv.event_entry, handler);
    EXPECT_EQ(v.pv.failsafe_entry, handler);
    EXPECT_EQ(v.pv.syscall_entry, handler);
    EXPECT_TRUE(v.pv.syscall_masks_events && v.pv.failsafe_masks_events);
    for (u64 address : hostile_entries) {
        EXPECT_EQ(set_callbacks(c, address, handler, handler).error(), Err::Inval);
        EXPECT_EQ(set_callbacks(c, handler, address, handler).error(), Err::Inval);
        EXPECT_EQ(set_callbacks(c, handler, handler, address).error(), Err::Inval);
    }
}

TEST_F(Callbacks, ThatMustExistStay) {
    Call c = call();
    for (u16 type : {CALLBACKTYPE_event, CALLBACKTYPE_failsafe, CALLBACKTYPE_syscall}) {
        m.put(callback_unregister_t{type, 0}, data_at);
        EXPECT_EQ(callback_op(c, CALLBACKOP_unregister, {data_at}).error(), Err::Inval);
    }
    v.pv.nmi_entry = handler;
    m.put(callback_unregister_t{CALLBACKTYPE_nmi, 0}, data_at);
    EXPECT_TRUE(callback_op(c, CALLBACKOP_unregister, {data_at}));
    EXPECT_EQ(v.pv.nmi_entry, 0u);
    EXPECT_EQ(callback_op(c, 2, {data_at}).error(), Err::NoSys);
    EXPECT_EQ(callback_op(c, CALLBACKOP_register, {in_hypervisor}).error(), Err::Fault);
}

TEST_F(Callbacks, TrapTableEndsByItselfOrAfterAllVectors) {
    Call c = call();
    trap_info_t one{3, 3, FLAT_KERNEL_CS, handler};
    m.put(one, data_at);
    m.put(trap_info_t{}, data_at + sizeof one);
    EXPECT_TRUE(set_trap_table(c, {data_at}));
    EXPECT_EQ(v.pv.traps[3].address, handler);
    for (u32 i = 0; i < 2048; ++i) // without end
        m.put(one, data_at + i * sizeof one);
    EXPECT_TRUE(set_trap_table(c, {data_at}));
    m.put(one, fake::window_base + fake::window_size - sizeof one);
    EXPECT_EQ(set_trap_table(c, {fake::window_base + fake::window_size - sizeof one}).error(), Err::Fault);
    EXPECT_EQ(set_trap_table(c, {in_hypervisor}).error(), Err::Fault);
    EXPECT_TRUE(set_trap_table(c, {0}));
    EXPECT_EQ(v.pv.traps[3].address, 0u);
    for (u64 address : hostile_entries) {
        one.address = address;
        m.put(one, data_at);
        EXPECT_EQ(set_trap_table(c, {data_at}).error(), Err::Inval);
        EXPECT_EQ(v.pv.traps[3].address, 0u);
    }
}

TEST_F(Callbacks, NmiIsForTheFirstVcpu) {
    Call c = call();
    m.put(xennmi_callback_t{handler, 0}, data_at);
    EXPECT_TRUE(nmi_op(c, XENNMI_register_callback, {data_at}));
    EXPECT_EQ(v.pv.nmi_entry, handler);
    m.put(xennmi_callback_t{in_hypervisor, 0}, data_at);
    EXPECT_EQ(nmi_op(c, XENNMI_register_callback, {data_at}).error(), Err::Inval);
    EXPECT_TRUE(nmi_op(c, XENNMI_unregister_callback, {0}));
    EXPECT_EQ(v.pv.nmi_entry, 0u);
    EXPECT_EQ(nmi_op(c, 2, {data_at}).error(), Err::NoSys);
}

TEST_F(Debug, BreakpointsAreAtGuestAddressesOnly) {
    Call c = call();
    for (i32 n = 0; n < 4; ++n) {
        for (u64 address : {0xffff800000000000, 0xffff830000001000, 0xffff87fffffffff8, u64{1} << 47,
                            (u64{1} << 47) - 4, u64{1} << 62, ~u64{0} - 6})
            EXPECT_EQ(set_debugreg(c, n, address).error(), Err::Perm) << std::hex << address;
        EXPECT_TRUE(set_debugreg(c, n, handler));
        EXPECT_EQ(get_debugreg(c, n).value(), static_cast<i64>(handler));
    }
    EXPECT_EQ(cpu.debug_loads, 4);
}

TEST_F(Debug, ControlIsMasked) {
    Call c = call();
    constexpr u64 general_detect = 1 << 13, fixed = 0x400;
    EXPECT_TRUE(set_debugreg(c, 7, general_detect | 0xd800 | 0x3ff));
    EXPECT_EQ(cpu.debug_control, 0x3ffu | fixed) << "no general detect, no reserved bits";
    EXPECT_EQ(set_debugreg(c, 7, u64{1} << 32).error(), Err::Perm);
    for (u32 i = 0; i < 4; ++i) {
        const u64 io = u64{2} << (16 + 4 * i);
        EXPECT_EQ(set_debugreg(c, 7, io | u64{1} << 2 * i).error(), Err::Perm) << "I/O breakpoints";
        EXPECT_EQ(set_debugreg(c, 5, io | u64{2} << 2 * i).error(), Err::Perm);
    }
    EXPECT_TRUE(set_debugreg(c, 7, 0));
    EXPECT_EQ(cpu.debug_control, fixed);
    EXPECT_TRUE(set_debugreg(c, 6, ~u64{0}));
    EXPECT_EQ(get_debugreg(c, 6).value(), 0xffffefff);
    for (i32 n : {8, 9, -1, 0x7fffffff})
        EXPECT_EQ(set_debugreg(c, n, 0).error(), Err::NoDev);
    EXPECT_EQ(get_debugreg(c, 8).error(), Err::Inval);
}

TEST_F(Debug, TaskSwitchedFlag) {
    Call c = call();
    EXPECT_TRUE(fpu_taskswitch(c, 1));
    EXPECT_TRUE(cpu.task_switched);
    EXPECT_TRUE(fpu_taskswitch(c, 0));
    EXPECT_FALSE(cpu.task_switched);
}

} // namespace
} // namespace domus::test
