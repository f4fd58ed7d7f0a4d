// Runstate: how much time a vcpu spent in each state, and the guest's copies of it. Source: <xen/vcpu.h>.
// Lock: changed under the run queue's lock of the vcpu's CPU; readers of other CPUs tolerate a torn view.
#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/guest_memory.hpp"
#include "hypervisor/core/time.hpp"

#include <cstddef>

namespace domus::hv {

void set_runstate(Vcpu& vcpu, int state, u64 now) {
    vcpu_runstate_info_t& books = vcpu.runstate;
    if (now > books.state_entry_time) {
        books.time[books.state] += now - books.state_entry_time;
        books.state_entry_time = now;
    }
    books.state = state;
}

vcpu_runstate_info_t runstate_now(const Vcpu& vcpu) {
    vcpu_runstate_info_t books{}; // padding included: it goes to guests
    books.state = vcpu.runstate.state;
    books.state_entry_time = vcpu.runstate.state_entry_time;
    for (u32 i = 0; i < 4; ++i)
        books.time[i] = vcpu.runstate.time[i];
    const u64 now = arch::now().n;
    if (now > books.state_entry_time)
        books.time[books.state] += now - books.state_entry_time;
    return books;
}

void update_guest_runstate_copy(Vcpu& vcpu) {
    vcpu_runstate_info_t books{};
    books.state = vcpu.runstate.state;
    books.state_entry_time = vcpu.runstate.state_entry_time;
    for (u32 i = 0; i < 4; ++i)
        books.time[i] = vcpu.runstate.time[i];
    const u64 area = vcpu.runstate_guest;
    const u64 entry_time_at = area + offsetof(vcpu_runstate_info_t, state_entry_time);
    const bool flagged = (vcpu.domain.vm_assist >> VMASST_TYPE_runstate_update_flag) & 1;
    if (!flagged) {
        (void)copy_out_bytes(area, &books, sizeof books);
        return;
    }
    const u64 marked = books.state_entry_time | XEN_RUNSTATE_UPDATE;
    if (!copy_out_bytes(entry_time_at, &marked, sizeof marked))
        return;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const u64 unmarked = books.state_entry_time;
    books.state_entry_time = marked;
    if (!copy_out_bytes(area, &books, sizeof books))
        return;
    std::atomic_thread_fence(std::memory_order_seq_cst);
    (void)copy_out_bytes(entry_time_at, &unmarked, sizeof unmarked);
}

} // namespace domus::hv
