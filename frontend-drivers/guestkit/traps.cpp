// Trap table and dispatch; see traps.hpp. Sources: <xen/arch-x86/xen.h>, <xen/callback.h>.
#include "frontend-drivers/guestkit/traps.hpp"

#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/print.hpp"
#include "frontend-drivers/guestkit/start.hpp"

extern "C" {
extern domus::u8 probe_start[], probe_end[], probe_done[];
unsigned probe_read(const void* address, domus::u64* value);
unsigned probe_write(void* address, domus::u64 value);
}

namespace domus::guest {

Frame last_fault;

namespace {

TrapHandler handlers[vector_count];
trap_info_t trap_table[vector_count];

void register_callback(u16 type, void* address, u16 flags) {
    callback_register_t argument{type, flags, reinterpret_cast<u64>(address)};
    if (long error = callback_op(CALLBACKOP_register, &argument))
        die("callback %u: %ld", type, error);
}

bool in_probe(u64 rip) {
    return rip >= reinterpret_cast<u64>(probe_start) && rip < reinterpret_cast<u64>(probe_end);
}

[[noreturn]] void unexpected(const Frame& frame) {
    die("trap %lu error %lx at %lx, address %lx, cs %lx rflags %lx rsp %lx ss %lx rax %lx", frame.vector, frame.error,
        frame.rip, fault_address(), frame.cs, frame.rflags, frame.rsp, frame.ss, frame.rax);
}

} // namespace

u64 fault_address() {
    return this_vcpu_info().arch.cr2;
}

void on_trap(unsigned vector, TrapHandler handler) {
    handlers[vector] = handler;
}

void fill_trap_table(trap_info_t* table, unsigned room) {
    for (unsigned vector = 0; vector < 256 && vector + 1 < room; ++vector) {
        const bool open = vector == 3 || vector == 4 || vector == 0x80;
        table[vector] = {static_cast<u8>(vector), static_cast<u8>(open ? 3 : 0), FLAT_KERNEL_CS,
                         reinterpret_cast<u64>(trap_stubs[vector])};
    }
    table[14].flags |= 4; // events masked until cr2 has been read
}

void install_traps() {
    fill_trap_table(trap_table, vector_count);
    if (long error = hypercall(__HYPERVISOR_set_trap_table, trap_table))
        die("set_trap_table: %ld", error);
    register_callback(CALLBACKTYPE_event, event_entry, 0);
    register_callback(CALLBACKTYPE_failsafe, failsafe_entry, 0);
    register_callback(CALLBACKTYPE_syscall, syscall_entry, CALLBACKF_mask_events);
}

extern "C" void guestkit_trap(Frame* frame) {
    if (in_probe(frame->rip) && frame->vector < 32) {
        last_fault = *frame;
        frame->rax = frame->vector + 1;
        frame->rip = reinterpret_cast<u64>(probe_done);
        return;
    }
    if (!handlers[frame->vector])
        unexpected(*frame);
    handlers[frame->vector](*frame);
}

unsigned try_read(const void* address, u64& value) {
    return probe_read(address, &value);
}
unsigned try_write(void* address, u64 value) {
    return probe_write(address, value);
}

} // namespace domus::guest
