// Exceptions, system calls, user mode and iret: every bounce has the right frame and every return arrives.
#include "frontend-drivers/guestkit/traps.hpp"

#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/test.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

Frame caught;
unsigned catches;
u64 caught_cr2;
bool caught_masked;

// Keeps the frame and steps over the instruction whose length was told in r12 (0: the saved rip is already past it).
void keep(Frame& frame) {
    caught = frame;
    caught_cr2 = fault_address();
    caught_masked = events_masked();
    ++catches;
    frame.rip += frame.r12;
}

// Runs one instruction that traps, with its length for keep(); registers carry marks that must arrive.
#define TRAPPING(length, instruction)                                                                                  \
    asm volatile("mov $" #length ", %%r12d\n" instruction                                                              \
                 :                                                                                                     \
                 : "a"(0xaaaa), "b"(0xbbbbUL), "d"(0)                                                                  \
                 : "r12", "rcx", "r11", "memory", "cc")

bool frame_is(unsigned vector, u64 error, const char* name) {
    const bool good =
        caught.vector == vector && caught.error == error && (caught.cs & ~u64{3}) == (FLAT_KERNEL_CS & ~3) &&
        (caught.ss & ~u64{3}) == (FLAT_KERNEL_SS & ~3) && caught.rbx == 0xbbbb && (caught.rflags & flag_interrupts);
    return check(good, name, "vector %lu error %lx cs %lx ss %lx rbx %lx rflags %lx", caught.vector, caught.error,
                 caught.cs, caught.ss, caught.rbx, caught.rflags);
}

void exceptions() {
    for (const unsigned vector : {0, 1, 3, 4, 5, 6, 13, 14, 0x80})
        on_trap(vector, keep);
    asm volatile("mov $2, %%r12d; xor %%ecx, %%ecx; div %%ecx"
                 :
                 : "a"(1), "b"(0xbbbbUL), "d"(0)
                 : "r12", "rcx", "memory", "cc");
    frame_is(0, 0, "divide_error");
    TRAPPING(2, "ud2");
    frame_is(6, 0, "invalid_opcode");
    TRAPPING(0, "int3");
    frame_is(3, 0, "breakpoint");
    TRAPPING(0, "int $0x80");
    frame_is(0x80, 0, "int_80");
    TRAPPING(2, "int $0x81"); // not open to ring 3 ... the kernel is refused as its table says
    check(caught.vector == 13 || caught.vector == 0x81, "int_81_closed", "vector %lu error %lx", caught.vector,
          caught.error);
    TRAPPING(1, "hlt");
    check(catches > 0, "hlt_survives");
    TRAPPING(2, "mov %%eax, %%fs"); // a selector far off the descriptor table
    check(caught.vector == 13 && (caught.error & ~7u) == (0xaaaa & ~7u), "bad_selector", "vector %lu error %lx",
          caught.vector, caught.error);
    u64 flags;
    asm volatile(
        "pushf; orl $0x100, (%%rsp); mov $0, %%r12d; popf; nop; pushf; pop %0; andl $~0x100, %k0; push %0; popf"
        : "=r"(flags)
        : "b"(0xbbbbUL)
        : "r12", "memory", "cc");
    check(caught.vector == 1, "single_step", "vector %lu", caught.vector);
}

// A watchpoint on our own memory that a hypercall then reads and writes: the hypervisor's own accesses must not stop
// it.
void watchpoints() {
    alignas(8) static char watched[XEN_EXTRAVERSION_LEN];
    constexpr u64 watch_8_bytes = 0x1 | 0xb << 16; // L0; reads and writes, eight bytes
    expect(hypercall(__HYPERVISOR_set_debugreg, 0, watched), 0, "watch_own_memory");
    expect(hypercall(__HYPERVISOR_set_debugreg, 7, watch_8_bytes), 0, "watchpoint_on");
    on_trap(1, keep);
    caught.vector = 0;
    expect(xen_version(XENVER_extraversion, watched), 0, "hypercall_writes_watched_memory");
    expect(hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_status, watched) < 0, 1, "hypercall_reads_watched_memory");
    asm volatile("mov $0, %%r12d; incl %0" : "+m"(watched) : : "r12", "cc");
    check(caught.vector == 1, "watchpoint_hits", "vector %lu", caught.vector);
    expect(hypercall(__HYPERVISOR_set_debugreg, 7, 0), 0, "watchpoint_off");
}

void stop_stepping(Frame& frame) {
    keep(frame);
    frame.rflags &= ~u64{0x100};
}

void page_faults() {
    u64 value;
    check(try_read(reinterpret_cast<void*>(0x123000), value) == 15, "fault_not_present");
    // of the guest kernel's own faults the U bit is not told
    check(last_fault.error == 0 && fault_address() == 0x123000, "fault_read_error_code", "%lx at %lx", last_fault.error,
          fault_address());
    unsigned fault = try_write(reinterpret_cast<void*>(0x123008), 1);
    check(fault == 15 && last_fault.error == 2, "fault_write_error_code", "%lx", last_fault.error);
    auto* page = take_page();
    protect_page(page, false);
    fault = try_write(page, 1);
    check(fault == 15 && last_fault.error == 3, "fault_read_only", "%lx", last_fault.error);
    check(try_read(page, value) == 0, "read_only_page_reads");
    protect_page(page, true);
    check(try_write(page, 1) == 0, "writable_again");
    check(try_read(reinterpret_cast<void*>(0xffff820000000000), value) == 15, "hypervisor_is_not_readable");
    check(try_write(reinterpret_cast<void*>(MACH2PHYS_VIRT_START), 0) == 15, "m2p_is_not_writable");
    check(try_read(reinterpret_cast<void*>(u64{1} << 62), value) == 14, "not_canonical_is_gp");
}

void privileged_instructions() {
    u32 a, b, c, d;
    asm volatile("ud2; .ascii \"xen\"; cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0x40000000), "c"(0));
    check(b == 0x566e6558 && c == 0x65584d4d && d == 0x4d4d566e, "forced_cpuid_says_xen", "%x %x %x", b, c, d);
    u64 cr0, cr3, cr4;
    asm volatile("mov %%cr0, %0" : "=r"(cr0));
    asm volatile("mov %%cr3, %0" : "=r"(cr3));
    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    check((cr0 & 0x80000001) == 0x80000001, "read_cr0", "%lx", cr0);
    check(cr3 == xen_pfn_to_cr3(mfn_of(reinterpret_cast<void*>(boot_info->pt_base)).n), "read_cr3", "%lx", cr3);
    check((cr4 & 0x20) != 0, "read_cr4", "%lx", cr4);
    u64 address = 0x1000;
    asm volatile("mov %0, %%cr2; xor %0, %0; mov %%cr2, %0" : "+r"(address));
    check(address == 0x1000, "write_and_read_cr2", "%lx", address);
    asm volatile("clts" : : : "memory");
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xc0000080));
    check((low & 0x501) == 0x501, "read_efer", "%x", low);
    on_trap(13, keep);
    const unsigned before = catches;
    asm volatile("mov $2, %%r12d; rdmsr" : "=a"(low), "=d"(high) : "c"(0xdeadbeef) : "r12");
    // Xen lets dom0 try, and QEMU has no unknown register: on a real machine this is #GP
    check(catches == before || caught.vector == 13, "unknown_msr_survives");
    asm volatile("mov $2, %%r12d; wrmsr" : : "a"(0), "d"(0), "c"(0xc0000080) : "r12");
    check(true, "write_efer_survives");
    asm volatile("mov $1, %%r12d; cli; sti" : : : "r12");
    check(true, "cli_and_sti_survive");
}

// User mode: a page of user code and a user stack at 64 GiB, in tables shared by the kernel's and a user L4.
constexpr u64 user_address = u64{1} << 36;
u64* user_l4;
u64 user_return[2]; // rsp and rip of the kernel while user code runs

extern "C" void user_code();
extern "C" u8 user_code_end[];
asm(R"(
    .balign 4096
    .globl user_code, user_code_end
user_code:
    mov %rsp, %r13
    mov $0x1111, %eax
    mov $0x2222, %edi
    syscall
    mov $0x3333, %ebx
    int $0x80
    xor %ecx, %ecx
    ud2
    nop
    mov 0xffffffff80000000, %rax # the kernel's memory: not in this address space
user_code_end:
    .balign 4096
)");

extern "C" void enter_user_and_wait(Frame* frame, u64* place);
asm(R"(
enter_user_and_wait:
    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rsi)
    lea 1f(%rip), %rax
    mov %rax, 8(%rsi)
    mov %rdi, %rsp
    jmp restore_frame
1:  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
    ret
)");

void build_user_space() {
    auto* l1 = static_cast<u64*>(take_page());
    auto* l2 = static_cast<u64*>(take_page());
    auto* l3 = static_cast<u64*>(take_page());
    user_l4 = static_cast<u64*>(take_page());
    auto* stack = take_page();
    auto* code = reinterpret_cast<void*>(user_code);
    l1[0] = make_entry(code, 0);
    l1[1] = make_entry(stack, pte_writable);
    l2[0] = make_entry(l1);
    l3[64] = make_entry(l2); // 64 GiB
    user_l4[0] = make_entry(l3);
    for (void* table : {(void*)l1, (void*)l2, (void*)l3, (void*)user_l4})
        protect_page(table, false);
    expect(pin(4, mfn_of(user_l4)), 0, "pin_user_l4");
    expect(mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(user_l4)), 0, "new_user_baseptr");
}

struct Seen {
    unsigned count;
    Frame frames[8];
};
Seen seen;
bool seen_masked;

void leave_user(Frame& frame) {
    frame.cs = FLAT_KERNEL_CS & ~3;
    frame.ss = FLAT_KERNEL_SS;
    frame.rip = user_return[1];
    frame.rsp = user_return[0];
}

void from_user(Frame& frame) {
    seen_masked = events_masked();
    if (seen.count < 8)
        seen.frames[seen.count++] = frame;
    if (frame.vector == vector_syscall)
        frame.rax = 0x4444;
    else if (frame.vector == 6)
        frame.rip += 2;
    else if (frame.vector != 0x80)
        leave_user(frame);
}

void user_mode() {
    build_user_space();
    alignas(16) static u8 kernel_stack[8192];
    expect(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, kernel_stack + sizeof kernel_stack), 0, "stack_switch");
    for (const unsigned vector : {6u, 14u, 13u, 0x80u, vector_syscall})
        on_trap(vector, from_user);
    Frame entry{};
    entry.rip = user_address;
    entry.cs = FLAT_USER_CS | 3;
    entry.ss = FLAT_USER_SS | 3;
    entry.rsp = user_address + 0x2000;
    entry.rflags = flag_interrupts;
    entry.r14 = 0x1414;
    enter_user_and_wait(&entry, user_return);
    check(seen.count == 4, "four_entries_from_user", "%u", seen.count);
    const Frame& call = seen.frames[0];
    check(call.vector == vector_syscall && call.rax == 0x1111 && call.rdi == 0x2222 && call.r14 == 0x1414,
          "syscall_registers", "vector %lx rax %lx rdi %lx r14 %lx", call.vector, call.rax, call.rdi, call.r14);
    check((call.cs & 3) == 3 && call.rsp == user_address + 0x2000 && call.r13 == call.rsp, "syscall_frame",
          "cs %lx rsp %lx", call.cs, call.rsp);
    check(call.rcx == call.rip && (call.rflags & flag_interrupts), "syscall_rcx_is_rip", "rcx %lx rip %lx rflags %lx",
          call.rcx, call.rip, call.rflags);
    const Frame& soft = seen.frames[1];
    check(soft.vector == 0x80 && soft.rax == 0x4444 && soft.rbx == 0x3333, "int_80_from_user", "vector %lx rax %lx",
          soft.vector, soft.rax);
    check(seen.frames[2].vector == 6 && (seen.frames[2].cs & 3) == 3, "ud2_from_user", "vector %lx cs %lx",
          seen.frames[2].vector, seen.frames[2].cs);
    const Frame& fault = seen.frames[3];
    check(fault.vector == 14 && fault.error == 4 && fault_address() == 0xffffffff80000000, "user_cannot_see_kernel",
          "vector %lx error %lx at %lx", fault.vector, fault.error, fault_address());
    check(seen_masked, "page_fault_masks_events");
}

// An iret whose frame has a data selector in CS or a bad one in SS must come back as failsafe or a fault.
void bad_iret() {
    static unsigned failsafes;
    static u64 last_vector;
    const TrapHandler recover = [](Frame& frame) {
        ++failsafes;
        last_vector = frame.vector;
        leave_user(frame);
        frame.rflags = flag_interrupts;
    };
    for (const unsigned vector : {10u, 11u, 12u, 13u, 14u, vector_failsafe})
        on_trap(vector, recover);
    struct {
        u64 cs, ss, rip;
        const char* name;
    } const frames[] = {
        {0x5553, FLAT_USER_SS | 3, user_address, "iret_bad_cs"},
        {FLAT_USER_CS | 3, 0x5553, user_address, "iret_bad_ss"},
        {FLAT_USER_CS | 3, FLAT_USER_SS | 3, u64{1} << 62, "iret_rip_not_canonical"},
        {FLAT_USER_CS | 3, FLAT_USER_SS | 3, 0xffff820000000000, "iret_rip_in_hypervisor"},
    };
    for (const auto& bad : frames) {
        const unsigned before = failsafes;
        Frame entry{};
        entry.rip = bad.rip;
        entry.cs = bad.cs;
        entry.ss = bad.ss;
        entry.rsp = user_address + 0x2000;
        entry.rflags = flag_interrupts;
        enter_user_and_wait(&entry, user_return);
        check(failsafes == before + 1, bad.name, "%u handlers ran, vector %lx", failsafes - before, last_vector);
        print("  %s came back as vector %lx\n", bad.name, last_vector);
    }
}

// What a guest asks for in RFLAGS must not reach the machine: IOPL, VM, interrupts off. (NT may.)
void hostile_rflags() {
    seen.count = 0;
    for (const unsigned vector : {6u, 14u, 13u, 0x80u, vector_syscall})
        on_trap(vector, from_user);
    Frame entry{};
    entry.rip = user_address;
    entry.cs = FLAT_USER_CS | 3;
    entry.ss = FLAT_USER_SS | 3;
    entry.rsp = user_address + 0x2000;
    entry.rflags = 0x3000 | 0x4000 | 0x20000 | 0x80000 | 0x100000; // IOPL 3, NT, VM, VIF, VIP; IF clear
    enter_user_and_wait(&entry, user_return);
    check(seen.count == 4 && !(seen.frames[0].rflags & 0x1a3000), "hostile_rflags", "%u entries, rflags %lx",
          seen.count, seen.frames[0].rflags);
    enable_events();
}

} // namespace

void guest_main() {
    exceptions();
    watchpoints();
    on_trap(1, stop_stepping);
    page_faults();
    privileged_instructions();
    user_mode();
    bad_iret();
    hostile_rflags();
    finish();
}
