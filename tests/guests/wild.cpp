// A stack or frame pointer that no guest should have: each ends the domain, with the reason in the log, and never the
// hypervisor. run.sh starts this once for each word of `variants` there, which comes as the command line.
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/test.hpp"
#include "frontend-drivers/guestkit/traps.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

constexpr u64 user_address = u64{1} << 36, in_hypervisor = 0xffff830000100000;

extern "C" void wild_user_code();
extern "C" [[noreturn]] void iret_with_stack(u64 rsp);
asm(R"(
    .balign 4096
    .globl wild_user_code
wild_user_code:
    syscall
    .balign 4096
iret_with_stack:
    mov %rdi, %rsp
    mov $23, %eax
    syscall
    ud2
)");

void enter_user_code(u64 rip) {
    void* tables[4];
    for (void*& table : tables)
        table = take_page();
    static_cast<u64*>(tables[0])[0] = make_entry(reinterpret_cast<void*>(wild_user_code), 0);
    static_cast<u64*>(tables[1])[0] = make_entry(tables[0]);
    static_cast<u64*>(tables[2])[64] = make_entry(tables[1]);
    static_cast<u64*>(tables[3])[0] = make_entry(tables[2]);
    for (void* table : tables)
        protect_page(table, false);
    expect(pin(4, mfn_of(tables[3])), 0, "pin_user_l4");
    expect(mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(tables[3])), 0, "new_user_baseptr");
    static Frame frame{};
    frame.rip = rip;
    frame.cs = FLAT_USER_CS | 3;
    frame.ss = FLAT_USER_SS | 3;
    frame.rflags = flag_interrupts;
    asm volatile("mov %0, %%rsp; jmp restore_frame" : : "r"(&frame) : "memory");
}

void syscall_with_stack(u64 rsp) {
    hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, rsp);
    enter_user_code(user_address);
}

void fault_with_stack(u64 rsp) {
    hypercall(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, rsp);
    enter_user_code(user_address + page_size); // nothing is mapped there
}

u64 edge_of_memory() { // the first half of a frame is there, the second is not
    auto* pages = static_cast<u8*>(take_page());
    update_va_mapping(pages, 0);
    return reinterpret_cast<u64>(pages);
}

} // namespace

void guest_main() {
    const auto line = command_line();
    const auto is = [&](std::string_view word) { return line.find(word) != line.npos; };
    const u64 at = is("hypervisor")      ? in_hypervisor
                   : is("below")         ? 0xffff880000000008 // ends in the guest's range, begins in the hypervisor's
                   : is("non-canonical") ? u64{1} << 62
                   : is("unmapped")      ? 0xffffffff00000000
                   : is("null")          ? 0
                   : is("end")           ? ~u64{0} - 7
                                         : 0;
    const auto from_user = is("syscall") ? syscall_with_stack : is("fault") ? fault_with_stack : nullptr;
    if (is("read-only")) {
        auto* page = take_page();
        protect_page(page, false);
        from_user(reinterpret_cast<u64>(page) + page_size);
    } else if (is("edge")) {
        const u64 hole = edge_of_memory();
        from_user ? from_user(hole + 24) : iret_with_stack(hole - 24);
    } else if (from_user) {
        from_user(at);
    } else {
        iret_with_stack(at);
    }
    check(false, "the_domain_lives_on");
    finish();
}
