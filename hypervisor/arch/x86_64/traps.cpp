// Exceptions and interrupts as entry.S hands them over, fix-ups of the hypervisor's own faults, and the panic.
// Interrupt handlers take no lock: they only note what happened for the exit path.
#include "hypervisor/arch/iface/console.hpp"
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/arch/x86_64/apic.hpp"
#include "hypervisor/arch/x86_64/cpu.hpp"
#include "hypervisor/arch/x86_64/percpu.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/core/trace.hpp"

extern "C" {
struct AddressPair {
    domus::u64 from, to;
};
extern const AddressPair fixups_start[], fixups_end[], patches_start[], patches_end[];
extern domus::u8 image_start[], text_start[], text_end[];
}

namespace domus::hv::arch {
namespace {

constexpr std::string_view trap_names[32] = {"divide error",
                                             "debug",
                                             "NMI",
                                             "breakpoint",
                                             "overflow",
                                             "bound range",
                                             "invalid opcode",
                                             "device not available",
                                             "double fault",
                                             "coprocessor",
                                             "invalid TSS",
                                             "segment not present",
                                             "stack fault",
                                             "general protection",
                                             "page fault",
                                             "vector 15",
                                             "x87 error",
                                             "alignment check",
                                             "machine check",
                                             "SIMD error",
                                             "virtualization",
                                             "control protection"};

void print_registers(const GuestRegs& r) {
    log(Level::Error, "rip {X} cs {x} rflags {x}", r.rip, r.cs, r.rflags);
    log(Level::Error, "rsp {X} ss {x} cr2 {x} cr3 {x}", r.rsp, r.ss, read_cr2(), read_cr3());
    log(Level::Error, "rax {X} rbx {X} rcx {X} rdx {X}", r.rax, r.rbx, r.rcx, r.rdx);
    log(Level::Error, "rsi {X} rdi {X} rbp {X} r8  {X}", r.rsi, r.rdi, r.rbp, r.r8);
    log(Level::Error, "r9  {X} r10 {X} r11 {X} r12 {X}", r.r9, r.r10, r.r11, r.r12);
    log(Level::Error, "r13 {X} r14 {X} r15 {X}", r.r13, r.r14, r.r15);
}

// Return addresses on the stack, by the frame pointers that the hypervisor is built with.
void print_stack(u64 frame_pointer_value) {
    u64 rbp = frame_pointer_value;
    for (u32 depth = 0; depth < 16; ++depth) {
        if (rbp % 8 || rbp < direct_map || rbp >= direct_map_end - 16)
            return;
        const u64* frame = reinterpret_cast<const u64*>(rbp);
        const u64 caller = frame[1];
        if (caller < reinterpret_cast<u64>(text_start) || caller >= reinterpret_cast<u64>(text_end))
            return;
        log(Level::Error, "  called from {X}", caller);
        if (frame[0] <= rbp)
            return;
        rbp = frame[0];
    }
}

const AddressPair* find_fixup(u64 rip) {
    for (const AddressPair* p = fixups_start; p < fixups_end; ++p) {
        if (p->from == rip)
            return p;
    }
    return nullptr;
}

[[noreturn]] void die(const GuestRegs& r) {
    const auto name = r.vector < 32 ? trap_names[r.vector] : std::string_view("interrupt");
    log(Level::Error, "PANIC on cpu{}: {} (vector {}, error code {x}) in the hypervisor", cpu_info().cpu, name,
        r.vector, r.error_code);
    print_registers(r);
    print_stack(r.rbp);
    panic("unexpected {} at {x}", name, r.rip);
}

} // namespace

void patch_smap_instructions() {
    if (!(read_cr4() & cr4::smap))
        return;
    for (const AddressPair* p = patches_start; p < patches_end; ++p) {
        auto* code = reinterpret_cast<u8*>(p->from);
        code[0] = 0x0f, code[1] = 0x01, code[2] = p->to ? 0xcb : 0xca; // STAC, CLAC
    }
}

extern "C" void on_hypervisor_trap(GuestRegs& r) {
    if (r.vector >= 32)
        return note_interrupt(r.vector);
    if (r.vector == 2) {
        cpu_info().pending.fetch_or(pending_nmi);
        return;
    }
    if (r.vector == 1) { // a guest's watchpoint on memory that a hypercall touched, or one held back by MOV SS
        write_dr(6, dr6_idle);
        return;
    }
    if (const AddressPair* fix = find_fixup(r.rip)) {
        r.rip = fix->to;
        return;
    }
    die(r);
}

extern "C" void on_guest_trap(GuestRegs& r) {
    Vcpu& v = *cpu_info().current;
    if (r.vector >= 32 && r.vector != 0x80)
        return note_interrupt(r.vector);
    if (r.vector == 2) {
        cpu_info().pending.fetch_or(pending_nmi);
        return;
    }
    if (r.vector == 18)
        die(r);
    guest_trap(v, r);
}

extern "C" void on_hypercall(GuestRegs& r, Vcpu& v) {
    guest_hypercall(v, r);
}
extern "C" void on_guest_syscall(GuestRegs& r, Vcpu& v) {
    guest_syscall(v, r);
}
extern "C" void on_failed_return(GuestRegs& r) {
    guest_failed_return(*cpu_info().current, r);
}

} // namespace domus::hv::arch

namespace domus::hv {

void panic_text(std::string_view text) {
    using namespace arch;
    static constinit bool panicking = false;
    if (panicking) {
        console_write("\npanic within a panic\n");
        panic_halt();
    }
    panicking = true;
    const u64 rbp = reinterpret_cast<u64>(__builtin_frame_address(0));
    log(Level::Error, "PANIC: {}", text);
    print_stack(rbp);
    if (Vcpu* v = cpu_info().current; v && !v->is_idle) {
        log(Level::Error, "the guest on this CPU was d{}v{} in {} mode:", v->domain.id, v->id,
            v->pv.in_kernel ? "kernel" : "user");
        print_registers(cpu_info().regs);
    }
    print_trace_in_panic();
    log(Level::Error, "The machine stops here. Registers and return addresses are above; `addr2line -e domus-syms.elf` "
                      "turns addresses into lines.");
    panic_halt();
}

} // namespace domus::hv
