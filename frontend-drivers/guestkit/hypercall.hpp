// Hypercalls of a mini guest, through the page the hypervisor filled in. Header-only.
// Every call returns what the hypervisor returned: 0 or a value, or a negative errno of <xen/errno.h>.
// Registers (<xen/arch-x86/xen-x86_64.h>): rax number; rdi, rsi, rdx, r10, r8, r9 arguments; rcx and r11 are lost.
#pragma once

#include "hypervisor/abi/xen.hpp"
#include "hypervisor/base/types.hpp"

extern "C" domus::u8 hypercall_page[4096];

namespace domus::guest {

// Any hypercall by number, for tests of numbers that do not exist as well. Arguments are integers or pointers.
template <class... Arguments>
inline long hypercall(unsigned number, Arguments... arguments) {
    static_assert(sizeof...(arguments) <= 5);
    const u64 given[6] = {(u64)arguments...};
    u64 a = given[0], b = given[1], c = given[2], d = given[3], e = given[4];
    register u64 r10 asm("r10") = d;
    register u64 r8 asm("r8") = e;
    u64 target = reinterpret_cast<u64>(hypercall_page) + u64{32} * (number % 128);
    long result;
    // a stack of its own for the call instruction's return address: there is no red zone
    asm volatile("call *%[target]"
                 : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8)
                 : [target] "a"(target)
                 : "rcx", "r11", "memory");
    return result;
}

inline long console_write(const char* text, u64 length) {
    return hypercall(__HYPERVISOR_console_io, CONSOLEIO_write, length, text);
}
inline long sched_op(unsigned op, void* argument = nullptr) {
    return hypercall(__HYPERVISOR_sched_op, op, argument);
}
inline long memory_op(unsigned op, void* argument) {
    return hypercall(__HYPERVISOR_memory_op, op, argument);
}
inline long xen_version(unsigned op, void* argument) {
    return hypercall(__HYPERVISOR_xen_version, op, argument);
}
inline long event_op(unsigned op, void* argument) {
    return hypercall(__HYPERVISOR_event_channel_op, op, argument);
}
inline long grant_op(unsigned op, void* argument, unsigned count) {
    return hypercall(__HYPERVISOR_grant_table_op, op, argument, count);
}
inline long vcpu_op(unsigned op, unsigned vcpu, void* argument) {
    return hypercall(__HYPERVISOR_vcpu_op, op, vcpu, argument);
}
inline long callback_op(unsigned op, void* argument) {
    return hypercall(__HYPERVISOR_callback_op, op, argument);
}
inline long multicall(multicall_entry_t* calls, unsigned count) {
    return hypercall(__HYPERVISOR_multicall, calls, count);
}
inline long set_segment_base(unsigned which, u64 base) {
    return hypercall(__HYPERVISOR_set_segment_base, which, base);
}

} // namespace domus::guest
