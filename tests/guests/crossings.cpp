// System calls, page faults, hypercalls and iret to the last bit: every register, flag and selector arrives, the short
// way and the long way. XOPT="fast-syscall=0 fast-iret=0 fast-fault=0 fast-hypercall=0" runs the same without the short
// ways.
#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/test.hpp"
#include "frontend-drivers/guestkit/traps.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

// User mode: a page of code and a page of data at 64 GiB; the data begin with what the code found in its registers.
constexpr u64 user_address = u64{1} << 36;
constexpr u64 flag_trap = 0x100, flag_direction = 0x400, arithmetic = 0x8d5, alignment = 0x40000;

// Xen leaves NT to the guest, Domus does not: no check looks at it.
constexpr u64 flag_nested = 0x4000;

struct Dump {
    u64 rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15, rflags;
    u16 cs, ss, ds, es, fs, gs;
};

extern "C" void user_code();
extern "C" void user_store();
extern "C" void kernel_call();
extern "C" void kernel_dump();
extern "C" Dump kernel_found;
extern "C" void enter_and_wait(Frame* frame, u64* place); // returns when a handler goes to place[1] with rsp place[0]
extern "C" void iret_from(const iret_context* frame, u64* place);
asm(R"(
    .macro dump_registers to
    mov %rax, \to(%rip)
    mov %rbx, \to + 8(%rip)
    mov %rcx, \to + 16(%rip)
    mov %rdx, \to + 24(%rip)
    mov %rsi, \to + 32(%rip)
    mov %rdi, \to + 40(%rip)
    mov %rbp, \to + 48(%rip)
    mov %rsp, \to + 56(%rip)
    mov %r8, \to + 64(%rip)
    mov %r9, \to + 72(%rip)
    mov %r10, \to + 80(%rip)
    mov %r11, \to + 88(%rip)
    mov %r12, \to + 96(%rip)
    mov %r13, \to + 104(%rip)
    mov %r14, \to + 112(%rip)
    mov %r15, \to + 120(%rip)
    pushf
    pop \to + 128(%rip)
    mov %cs, \to + 136(%rip)
    mov %ss, \to + 138(%rip)
    mov %ds, \to + 140(%rip)
    mov %es, \to + 142(%rip)
    mov %fs, \to + 144(%rip)
    mov %gs, \to + 146(%rip)
    ud2
    .endm

    .balign 4096
    .globl user_code, user_store, kernel_call, kernel_dump, kernel_found
user_code:
    syscall
    dump_registers user_code + 4096
user_store:
    movb $1, (%rdi)
    ud2
    .balign 4096
kernel_call:
    syscall
kernel_dump:
    dump_registers kernel_found

enter_and_wait:
    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rsi)
    lea 1f(%rip), %rax
    mov %rax, 8(%rsi)
    mov %rdi, %rsp
    jmp restore_frame
iret_from:
    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rsi)
    lea 1f(%rip), %rax
    mov %rax, 8(%rsi)
    mov %rdi, %rsp
    mov $23, %eax
    syscall
1:  cld
    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
    ret

    .bss
    .balign 8
kernel_found: .skip 256
    .text
)");

u64 place[2];
Dump* user_found;
Frame seen_call, seen_end, seen_debug;
Frame answer; // what the system call's handler goes back with
bool use_answer, seen_masked;
u32 calls, ends, debugs;

void leave(Frame& frame) {
    frame.cs = FLAT_KERNEL_CS & ~3;
    frame.ss = FLAT_KERNEL_SS;
    frame.rip = place[1];
    frame.rsp = place[0];
    frame.rflags = flag_interrupts;
}

void on_call(Frame& frame) {
    seen_call = frame;
    seen_call.r11 &= ~flag_nested, seen_call.rflags &= ~flag_nested;
    seen_masked = events_masked();
    ++calls;
    if (use_answer) {
        const u64 vector = frame.vector;
        frame = answer;
        frame.vector = vector;
    }
}

void on_end(Frame& frame) {
    seen_end = frame;
    ++ends;
    leave(frame);
}

void on_debug(Frame& frame) {
    seen_debug = frame;
    ++debugs;
    frame.rflags &= ~flag_trap;
    hypercall(__HYPERVISOR_set_debugreg, 7, 0);
}

void on_fault(Frame& frame) {
    seen_masked = events_masked();
    on_end(frame);
}

Frame pattern(u64 seed, u64 rip, u64 rflags) {
    Frame f{};
    for (u64* word = &f.r15; word <= &f.rcx; ++word)
        *word = seed * 0x9e3779b97f4a7c15 + static_cast<u64>(word - &f.r15);
    f.rip = rip;
    f.cs = FLAT_USER_CS | 3;
    f.ss = FLAT_USER_SS | 3;
    f.rsp = user_address + 0x1f00 + seed % 8 * 8;
    f.rflags = rflags;
    return f;
}

// The registers that neither SYSCALL nor a bounce has a use for.
bool same_registers(const Frame& a, const Frame& b) {
    return a.rax == b.rax && a.rbx == b.rbx && a.rdx == b.rdx && a.rsi == b.rsi && a.rdi == b.rdi && a.rbp == b.rbp &&
           a.r8 == b.r8 && a.r9 == b.r9 && a.r10 == b.r10 && a.r12 == b.r12 && a.r13 == b.r13 && a.r14 == b.r14 &&
           a.r15 == b.r15 && a.rsp == b.rsp;
}

Frame frame_of(const Dump& d) {
    Frame f{};
    f.rax = d.rax, f.rbx = d.rbx, f.rcx = d.rcx, f.rdx = d.rdx, f.rsi = d.rsi, f.rdi = d.rdi, f.rbp = d.rbp;
    f.rsp = d.rsp, f.r8 = d.r8, f.r9 = d.r9, f.r10 = d.r10, f.r11 = d.r11, f.r12 = d.r12, f.r13 = d.r13;
    f.r14 = d.r14, f.r15 = d.r15;
    return f;
}

void check_dump(const Dump& found, const Frame& sent, u64 rflags, const char* name) {
    const Frame f = frame_of(found);
    check(same_registers(f, sent) && f.rcx == sent.rcx && f.r11 == sent.r11, name, "rax %lx rcx %lx r11 %lx rsp %lx",
          f.rax, f.rcx, f.r11, f.rsp);
    check((found.rflags & ~flag_nested) == rflags && found.cs == ((sent.cs & 0xffff) | 3) &&
              found.ss == ((sent.ss & 0xffff) | 3),
          "its_flags_and_selectors", "rflags %lx cs %x ss %x", found.rflags, found.cs, found.ss);
}

// Into user mode, by a system call into the kernel with every register marked, and back with every register changed.
void there_and_back(u64 seed, u64 rflags, bool masked, const char* name) {
    const u64 in_user = (rflags & (arithmetic | flag_direction | alignment)) | 0x202;
    const Frame entry = pattern(seed, user_address, (rflags & ~flag_interrupts) | (masked ? 0 : flag_interrupts));
    answer = pattern(seed + 1, user_address + 2, entry.rflags);
    use_answer = true;
    calls = ends = 0;
    Frame copy = entry;
    enter_and_wait(&copy, place);
    enable_events();
    check(calls == 1 && ends == 1 && same_registers(seen_call, entry), name, "%u calls, %u ends, rax %lx rsp %lx",
          calls, ends, seen_call.rax, seen_call.rsp);
    const u64 told = (in_user & ~flag_interrupts) | (masked ? 0 : flag_interrupts);
    check(seen_call.rip == user_address + 2 && seen_call.rcx == seen_call.rip && seen_call.r11 == in_user &&
              seen_call.rflags == told && (seen_call.cs & 0xffff) == FLAT_USER_CS && seen_call.cs >> 32 == masked &&
              seen_call.ss == FLAT_USER_SS,
          "its_frame", "rip %lx rcx %lx r11 %lx rflags %lx cs %lx ss %lx", seen_call.rip, seen_call.rcx, seen_call.r11,
          seen_call.rflags, seen_call.cs, seen_call.ss);
    check_dump(*user_found, answer, in_user, "its_return");
}

void user_mode() {
    there_and_back(1, flag_interrupts, false, "plain_call");
    there_and_back(2, arithmetic | flag_direction, false, "call_with_flags");
    there_and_back(3, alignment, false, "call_with_ac");
    there_and_back(4, arithmetic, true, "call_while_masked"); // the long way
    const Dump before = *user_found;
    there_and_back(5, 0x3000 | 0x4000 | 0x10000 | 0x20000 | 0x80000 | 0x100000, false, "call_with_forbidden_flags");
    check(before.ds == user_found->ds && before.es == user_found->es && before.fs == user_found->fs &&
              before.gs == user_found->gs,
          "data_selectors_stay");
    calls = 0;
    for (u64 seed = 10; seed < 200; ++seed) {
        Frame entry = pattern(seed, user_address, flag_interrupts | (seed % 2 ? arithmetic : 0));
        use_answer = false;
        enter_and_wait(&entry, place);
    }
    check(calls == 190, "many_calls", "%u", calls);
}

// A fault in user mode, with every register marked, is told to the kernel as the processor told it.
void user_fault(Frame entry, u64 address, u64 error, const char* name) {
    const u64 seen_before = fault_address();
    const bool masked = (entry.rflags & flag_interrupts) == 0;
    const u64 told = (entry.rflags & (arithmetic | flag_direction | alignment | flag_trap | flag_interrupts)) | 2;
    ends = debugs = 0;
    Frame copy = entry;
    enter_and_wait(&copy, place);
    enable_events();
    check(ends == 1 && debugs == 0 && seen_end.vector == 14 && same_registers(seen_end, entry) &&
              seen_end.rcx == entry.rcx && seen_end.r11 == entry.r11,
          name, "%u ends, vector %lu, rax %lx rcx %lx r11 %lx rsp %lx", ends, seen_end.vector, seen_end.rax,
          seen_end.rcx, seen_end.r11, seen_end.rsp);
    check(seen_end.rip == entry.rip && seen_end.error == error && fault_address() == address &&
              seen_before != address && (seen_end.rflags & ~flag_nested) == told &&
              (seen_end.cs & 0xffff) == FLAT_USER_CS && seen_end.cs >> 32 == masked && seen_end.ss == FLAT_USER_SS &&
              seen_masked,
          "its_fault", "rip %lx error %lx at %lx rflags %lx cs %lx ss %lx masked %u", seen_end.rip, seen_end.error,
          fault_address(), seen_end.rflags, seen_end.cs, seen_end.ss, seen_masked);
}

void user_faults() {
    constexpr u64 nowhere = user_address + 0x5000;
    const u64 store = user_address + (reinterpret_cast<u64>(user_store) - reinterpret_cast<u64>(user_code));
    on_trap(14, on_fault);
    u64 seed = 300;
    for (const u64 flags : {flag_interrupts, flag_interrupts | arithmetic | flag_direction, flag_interrupts | alignment,
                            flag_interrupts | flag_trap, arithmetic}) { // the last one masked: the long way
        ++seed;
        Frame entry = pattern(seed, nowhere + seed, flags);
        user_fault(entry, entry.rip, 0x14, "fault_at_a_fetch");
        entry.rip = store, entry.rdi = nowhere + 0x1000 + seed;
        user_fault(entry, entry.rdi, 6, "fault_at_a_store");
        entry.rdi = user_address + seed;
        user_fault(entry, entry.rdi, 7, "fault_at_a_read_only_page");
        entry.rdi = 0xffff800000000000 + seed * 8; // guests may read there, in both modes, not write
        user_fault(entry, entry.rdi, 7, "fault_at_the_hypervisors_table");
        entry.rdi = 0xffff808000200000 + seed;
        user_fault(entry, entry.rdi, 7, "fault_at_the_hypervisors_code");
    }
    on_trap(14, on_end);
}

// From kernel to kernel, with the events' mask in IF.
void kernel_mode() {
    for (const u64 interrupts : {u64{0}, flag_interrupts}) {
        alignas(16) static u8 stack[512];
        Frame entry = pattern(77, reinterpret_cast<u64>(kernel_dump), interrupts | arithmetic);
        entry.cs = FLAT_KERNEL_CS & ~3;
        entry.ss = FLAT_KERNEL_SS & ~3;
        entry.rsp = reinterpret_cast<u64>(stack + 448);
        const Frame sent = entry;
        enter_and_wait(&entry, place);
        enable_events();
        check_dump(kernel_found, sent, arithmetic | 0x202, "kernel_to_kernel");
        check((seen_end.rflags & flag_interrupts) == interrupts, "mask_by_iret", "rflags %lx", seen_end.rflags);
    }
}

// A hypercall gives back its answer and every other register as it was, but for rcx and r11, which SYSCALL takes.
void hypercalls() {
    const struct {
        u64 number, first, second, answer;
        const char* name;
    } rows[] = {
        {__HYPERVISOR_xen_version, XENVER_commandline + 90, 0, static_cast<u64>(-38L), "hypercall_refused"},
        {__HYPERVISOR_xen_version, XENVER_pagesize, 0, page_size, "hypercall_with_an_answer"},
        {__HYPERVISOR_xen_version | u64{0xabcd} << 32, XENVER_pagesize, 0, page_size, "only_the_lower_half_counts"},
        {__HYPERVISOR_sched_op, SCHEDOP_yield, 0, 0, "hypercall_that_yields"}, // leaves by the long way
        {__HYPERVISOR_mmu_update, 8, 1, static_cast<u64>(-14L), "hypercall_with_a_wild_pointer"},
        {63, 0, 0, static_cast<u64>(-38L), "hypercall_of_no_row"},
        {64, 0, 0, static_cast<u64>(-38L), "hypercall_behind_the_table"},
        {0xffffffff, 0, 0, static_cast<u64>(-38L), "hypercall_far_behind_the_table"},
    };
    u64 seed = 500;
    for (const auto& row : rows) {
        alignas(16) static u8 stack[512];
        ++seed;
        Frame entry = pattern(seed, reinterpret_cast<u64>(kernel_call), flag_interrupts | arithmetic | flag_direction);
        entry.cs = FLAT_KERNEL_CS & ~3;
        entry.ss = FLAT_KERNEL_SS & ~3;
        entry.rsp = reinterpret_cast<u64>(stack + 448);
        entry.rax = row.number, entry.rdi = row.first, entry.rsi = row.second;
        entry.rdx = 0; // of mmu_update: no counter; and for the domain itself
        entry.r10 = DOMID_SELF;
        Frame wanted = entry;
        wanted.rax = row.answer;
        enter_and_wait(&entry, place);
        enable_events();
        const u64 behind = reinterpret_cast<u64>(kernel_call) + 2, flags = arithmetic | flag_direction | 0x202;
        const Frame f = frame_of(kernel_found);
        check(same_registers(f, wanted) && f.rcx == behind && (f.r11 & ~flag_nested) == flags, row.name,
              "rax %lx rcx %lx r11 %lx rsp %lx", f.rax, f.rcx, f.r11, f.rsp);
        check((kernel_found.rflags & ~flag_nested) == flags && kernel_found.cs == FLAT_KERNEL_CS &&
                  kernel_found.ss == FLAT_KERNEL_SS,
              "its_flags_and_selectors", "rflags %lx cs %x ss %x", kernel_found.rflags, kernel_found.cs,
              kernel_found.ss);
    }
}

// Frames where the short way must give up, or nearly: across two pages, at a page's end, with VGCF_in_syscall.
void odd_frames() {
    alignas(page_size) static u8 pages[2 * page_size];
    const Frame wanted = pattern(31, user_address + 2, flag_interrupts);
    for (const u32 at : {page_size - 40, page_size - 4, 2 * page_size - sizeof(iret_context), page_size + 3}) {
        iret_context frame{wanted.rax, wanted.r11,    wanted.rcx, 0,        wanted.rip,
                           wanted.cs,  wanted.rflags, wanted.rsp, wanted.ss};
        __builtin_memcpy(pages + at, &frame, sizeof frame);
        ends = 0;
        iret_from(reinterpret_cast<const iret_context*>(pages + at), place);
        check(ends == 1 && user_found->rax == wanted.rax && user_found->rcx == wanted.rcx &&
                  user_found->r11 == wanted.r11 && user_found->rsp == wanted.rsp,
              "frame_at_odd_place", "at %u: %u ends, rax %lx", at, ends, user_found->rax);
    }
    iret_context frame{1, 2, 3, VGCF_in_syscall, wanted.rip, wanted.cs, wanted.rflags, wanted.rsp, wanted.ss};
    iret_from(&frame, place);
    check(user_found->rax == 1 && user_found->rsp == wanted.rsp && user_found->rcx != 3, "iret_in_syscall",
          "rax %lx rcx %lx", user_found->rax, user_found->rcx);
    frame.flags = 0;
    frame.cs |= 0xabcd0000, frame.ss |= 0xabcd0000; // only the selectors count
    iret_from(&frame, place);
    check(user_found->rcx == 3 && user_found->cs == FLAT_USER_CS, "upper_halves_of_selectors", "cs %x", user_found->cs);
}

// Returns that the CPU refuses come back as a fault or as failsafe, and nothing of the hypervisor's is reached.
void refused_returns() {
    struct {
        u64 rip, cs, ss;
        const char* name;
    } const rows[] = {
        {user_address, 0xe008, FLAT_USER_SS, "iret_to_the_hypervisors_cs"},
        {user_address, FLAT_USER_CS, 0xe010, "iret_to_the_hypervisors_ss"},
        {user_address, 0, FLAT_USER_SS, "iret_to_null_cs"},
        {u64{1} << 47, FLAT_USER_CS, FLAT_USER_SS, "iret_to_first_non_canonical"},
        {0xffff7fffffffffff, FLAT_USER_CS, FLAT_USER_SS, "iret_to_last_non_canonical"},
        {0xffff808000200000, FLAT_USER_CS, FLAT_USER_SS, "iret_to_the_hypervisors_code"},
    };
    for (const u64 user : {u64{3}, u64{0}}) {
        for (const auto& row : rows) {
            Frame entry = pattern(5, row.rip, flag_interrupts);
            entry.cs = (row.cs & ~u64{3}) | user;
            entry.ss = (row.ss & ~u64{3}) | user;
            if (user == 0) // what is told about it is pushed there
                entry.rsp = reinterpret_cast<u64>(__builtin_frame_address(0)) - 4096;
            ends = 0;
            enter_and_wait(&entry, place);
            enable_events();
            check(ends == 1, row.name, "%u handlers ran", ends);
        }
    }
}

void debugging(u64 kernel_stack_top) {
    constexpr u64 execute_0 = 0x1, write_8_bytes = 0x1 | 0x9 << 16;
    use_answer = false;
    debugs = ends = calls = 0;
    Frame entry = pattern(41, user_address, flag_interrupts | flag_trap);
    enter_and_wait(&entry, place);
    check(calls == 1 && (seen_call.rflags & flag_trap), "trap_flag_is_told", "%u calls rflags %lx", calls,
          seen_call.rflags);
    check(debugs == 1 && ends == 1 && seen_debug.rip == user_address + 2 + 7, "single_step_over_a_call",
          "%u steps, at %lx", debugs, seen_debug.rip);
    debugs = ends = calls = 0;
    expect(hypercall(__HYPERVISOR_set_debugreg, 0, user_address), 0, "breakpoint_at_syscall");
    expect(hypercall(__HYPERVISOR_set_debugreg, 7, execute_0), 0, "breakpoint_on");
    entry = pattern(42, user_address, flag_interrupts);
    enter_and_wait(&entry, place);
    check(debugs == 1 && calls == 1 && ends == 1 && seen_debug.rip == user_address, "breakpoint_then_call",
          "%u %u %u at %lx", debugs, calls, ends, seen_debug.rip);
    // where the hypervisor itself pushes the frame
    expect(hypercall(__HYPERVISOR_set_debugreg, 0, kernel_stack_top - 8), 0, "watchpoint_on_the_frame");
    expect(hypercall(__HYPERVISOR_set_debugreg, 7, write_8_bytes), 0, "watchpoint_on");
    there_and_back(6, arithmetic, false, "call_with_watched_stack");
    hypercall(__HYPERVISOR_set_debugreg, 7, 0);
}

void build_user_space() {
    void* tables[4];
    for (void*& table : tables)
        table = take_page();
    auto* l1 = static_cast<u64*>(tables[0]);
    auto* l2 = static_cast<u64*>(tables[1]);
    auto* l3 = static_cast<u64*>(tables[2]);
    auto* l4 = static_cast<u64*>(tables[3]);
    auto* data = take_page();
    user_found = static_cast<Dump*>(data);
    l1[0] = make_entry(reinterpret_cast<void*>(user_code), 0);
    l1[1] = make_entry(data, pte_writable);
    l2[0] = make_entry(l1);
    l3[64] = make_entry(l2);
    l4[0] = make_entry(l3);
    for (void* table : tables)
        protect_page(table, false);
    expect(pin(4, mfn_of(l4)), 0, "pin_user_l4");
    expect(mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(l4)), 0, "new_user_baseptr");
}

} // namespace

void guest_main() {
    alignas(16) static u8 kernel_stack[8192];
    build_user_space();
    const u64 top = reinterpret_cast<u64>(kernel_stack) + sizeof kernel_stack;
    expect(hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, top + 7), 0, "stack_switch"); // it is aligned down
    on_trap(vector_syscall, on_call);
    for (const unsigned vector : {6u, 10u, 11u, 12u, 13u, 14u, vector_failsafe})
        on_trap(vector, on_end);
    on_trap(1, on_debug);
    user_mode();
    user_faults();
    kernel_mode();
    hypercalls();
    odd_frames();
    refused_returns();
    debugging(top);
    finish();
}
