// Vcpu contexts and who-am-I; see smp.hpp. A vcpu is known by its stack: stacks are aligned to their size.
#include "frontend-drivers/guestkit/smp.hpp"

#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/start.hpp"
#include "frontend-drivers/guestkit/traps.hpp"

extern "C" void vcpu_entry();

namespace domus::guest {
namespace {

alignas(stack_size) u8 stacks[max_vcpus][stack_size]; // [0] is unused: vcpu 0 has the boot stack
vcpu_guest_context_t context;

} // namespace

u32 this_vcpu() {
    const u64 here = reinterpret_cast<u64>(__builtin_frame_address(0));
    const u64 offset = here - reinterpret_cast<u64>(stacks);
    return offset < sizeof stacks ? static_cast<u32>(offset / stack_size) : 0;
}

long initialise_vcpu(u32 id, void (*function)(u64), u64 argument) {
    context = {};
    context.flags = VGCF_in_kernel | VGCF_syscall_disables_events;
    context.user_regs.rip = reinterpret_cast<u64>(vcpu_entry);
    context.user_regs.rdi = reinterpret_cast<u64>(function);
    context.user_regs.rsi = argument;
    context.user_regs.cs = FLAT_KERNEL_CS;
    context.user_regs.ss = FLAT_KERNEL_SS;
    context.user_regs.rflags = flag_interrupts;
    context.user_regs.rsp = reinterpret_cast<u64>(stacks[id % max_vcpus]) + stack_size;
    fill_trap_table(context.trap_ctxt, 256);
    context.kernel_ss = FLAT_KERNEL_SS;
    context.kernel_sp = context.user_regs.rsp;
    context.ctrlreg[3] = xen_pfn_to_cr3(mfn_of(reinterpret_cast<void*>(boot_info->pt_base)).n);
    context.event_callback_eip = reinterpret_cast<u64>(event_entry);
    context.failsafe_callback_eip = reinterpret_cast<u64>(failsafe_entry);
    context.syscall_callback_eip = reinterpret_cast<u64>(syscall_entry);
    return vcpu_op(VCPUOP_initialise, id, &context);
}

long bring_up(u32 id) {
    return vcpu_op(VCPUOP_up, id, nullptr);
}
long bring_down(u32 id) {
    return vcpu_op(VCPUOP_down, id, nullptr);
}
bool is_up(u32 id) {
    return vcpu_op(VCPUOP_is_up, id, nullptr) == 1;
}

} // namespace domus::guest
