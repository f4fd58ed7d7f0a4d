// Random hypercalls with random arguments, a bounded number of them: the hypervisor must still answer afterwards.
// Kept out: what ends the domain by request, what replaces the guest's own roots and traps, and the privileged
// control calls, which may well do what they are told.
#include "frontend-drivers/guestkit/events.hpp"
#include "frontend-drivers/guestkit/memory.hpp"
#include "frontend-drivers/guestkit/test.hpp"
#include "frontend-drivers/guestkit/traps.hpp"

using namespace domus;
using namespace domus::guest;

namespace {

constexpr unsigned calls = 20000;
alignas(page_size) u8 target[4 * page_size]; // what hypercalls may scribble over, and some room behind
u64 state = 88172645463325252;

u64 next() { // xorshift: the same sequence in every run
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

u64 random_argument() {
    switch (next() % 8) {
    case 0:
        return next();
    case 1:
        return next() % 64;
    case 2:
        return 0xffff800000000000 + next() % (u64{1} << 43);
    case 3:
        return next() % (1u << 20);
    case 4:
        return ~u64{0} - next() % 32;
    default: // a buffer with random contents, sometimes near the page's end
        for (unsigned i = 0; i < 128; i += 8)
            reinterpret_cast<u64*>(target)[i / 8] = next() % 3 ? next() % 2048 : next();
        return reinterpret_cast<u64>(target) + (next() % 8 == 0 ? page_size - next() % 16 : 0);
    }
}

bool allowed(unsigned number, u64 first) {
    switch (number) {
    case __HYPERVISOR_iret:
    case __HYPERVISOR_set_debugreg: // a watchpoint on our own code
    case __HYPERVISOR_set_callbacks:
    case __HYPERVISOR_set_trap_table:
    case __HYPERVISOR_stack_switch:
    case __HYPERVISOR_callback_op:
    case __HYPERVISOR_sched_op_compat:
    case __HYPERVISOR_update_va_mapping: // would unmap our buffer; mappings() tries it on a page of its own
    case __HYPERVISOR_update_va_mapping_otherdomain:
    case __HYPERVISOR_multicall: // would reach all others
    case __HYPERVISOR_platform_op:
    case __HYPERVISOR_sysctl:
    case __HYPERVISOR_domctl:
    case __HYPERVISOR_physdev_op:
    case __HYPERVISOR_physdev_op_compat:
    case __HYPERVISOR_kexec_op:
    case __HYPERVISOR_vcpu_op:    // a random context for vcpu 1, or taking vcpu 0 down
    case __HYPERVISOR_mmuext_op:  // could unpin or replace our own root
    case __HYPERVISOR_memory_op:  // could give our own frames away
    case __HYPERVISOR_console_io: // random text on the log
        return false;
    case __HYPERVISOR_sched_op:
        return first != SCHEDOP_shutdown && first != SCHEDOP_block && first != SCHEDOP_poll &&
               first != SCHEDOP_watchdog && first != SCHEDOP_shutdown_code && first != SCHEDOP_remote_shutdown;
    default:
        return true;
    }
}

// Random entries for one page: each is refused or takes effect, and the page can be had back.
void mappings() {
    auto* page = take_page();
    unsigned accepted = 0;
    for (unsigned i = 0; i < 2000; ++i) {
        const u64 frame = next() % 4 ? next() % (1u << 18) : next() % (u64{1} << 40);
        accepted += update_va_mapping(page, frame << page_shift | (next() & (pte_no_execute | 0xfff)), next() % 8) == 0;
    }
    print("  %u of 2000 random mappings were accepted\n", accepted);
    check(map_page(page, mfn_of(page), pte_writable) == 0 && try_write(page, 1) == 0, "page_comes_back");
}

} // namespace

void guest_main() {
    unsigned done = 0, succeeded = 0;
    for (unsigned i = 0; i < calls; ++i) {
        const unsigned number = next() % 16 == 0 ? next() % 128 : next() % 56;
        const u64 first = next() % 2 ? next() % 40 : random_argument();
        if (!allowed(number, first))
            continue;
        ++done;
        mask_events();
        const u64 second = random_argument();
        // a count: answers for many elements would rightly be written over all that follows the buffer
        const u64 third = number == __HYPERVISOR_grant_table_op ? next() % 64 : random_argument();
        succeeded += hypercall(number, first, second, third, random_argument(), random_argument()) >= 0;
    }
    print("  %u calls, %u did something\n", done, succeeded);
    check(done > calls / 4, "made_calls");
    check(xen_version(XENVER_pagesize, nullptr) == 4096, "hypervisor_answers");
    auto* page = take_page();
    check(map_page(page, mfn_of(page), pte_writable) == 0, "mappings_still_work");
    mappings();
    // the same with memory operations that can only fail or give: none may take the hypervisor down
    for (unsigned i = 0; i < 2000; ++i) {
        auto* words = reinterpret_cast<u64*>(target);
        for (unsigned w = 0; w < 16; ++w)
            words[w] = next();
        const u64 operations[] = {XENMEM_current_reservation,
                                  XENMEM_maximum_reservation,
                                  XENMEM_machphys_mfn_list,
                                  XENMEM_memory_map,
                                  XENMEM_machphys_compat_mfn_list,
                                  50,
                                  60};
        memory_op(static_cast<unsigned>(operations[next() % 7]), target);
    }
    check(xen_version(XENVER_pagesize, nullptr) == 4096, "hypervisor_answers_again");
    finish();
}
