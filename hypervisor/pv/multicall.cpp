// Several hypercalls in one crossing. Owner: the vcpu on this CPU. Each entry is judged as if it were called alone,
// from a copy of it; entries are copied a few at a time, so one that an earlier one changes may be run as it was
// before.
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/hypercalls_pv.hpp"
#include "hypervisor/pv/unhooked.hpp"

namespace domus::hv {
namespace {

Result<void> write_result(GuestPtr<multicall_entry_t> entry, i64 result) {
    const u64 value = static_cast<u64>(result);
    return copy_out_bytes(entry.address + offsetof(multicall_entry_t, result), &value, sizeof value);
}

// iret changes the registers that this list itself is running on; multicalls within each other would eat up the stack.
// A number with upper bits is none: it must not become one of these when they are cut off.
[[gnu::noinline]] Result<i64> run_rare(u64 number, Call& call) {
    if (number == __HYPERVISOR_iret || number == __HYPERVISOR_multicall || number >> 32 != 0) {
        why(call.domain, "hypercall {} is not allowed inside a multicall", number);
        return Err::NoSys;
    }
    return dispatch(static_cast<u32>(number), call);
}

// As dispatch does it, for those that any guest may call.
[[gnu::always_inline]] inline Result<i64> run_one(u64 number, Call& call) {
    const Handler handler = number < hypercall_numbers ? listed_hypercalls[number] : nullptr;
    if (!handler) [[unlikely]]
        return run_rare(number, call);
    ++call.domain.perf.hypercalls[number];
    if (number != __HYPERVISOR_mmu_update) // which looks for itself
        bring_back_if_any(call.domain);
    return handler(call);
}

// The entry itself stopped and keeps how far it is; the list goes on with it.
Err stop_within(Call& call, GuestPtr<multicall_entry_t> at, multicall_entry_t entry, const Call& inner, u32 left) {
    for (usize a = 0; a < inner.args.size(); ++a)
        entry.args[a] = inner.args[a];
    if (const auto kept = copy_out(at, entry); !kept)
        return kept.error();
    return call.resume_later(at.address, left);
}

} // namespace

Result<i64> multicall(Call& call, GuestPtr<multicall_entry_t> list, u32 count) {
    GuestGroup<multicall_entry_t, 8> group;
    for (u32 done = 0; done < count;) {
        const u32 size = TRY(group.load(list, done, count - done));
        for (u32 i = 0; i < size; ++i) {
            const multicall_entry_t& entry = group.items[i];
            const auto at = list.at(done);
            Call inner{call.vcpu,
                       call.domain,
                       {entry.args[0], entry.args[1], entry.args[2], entry.args[3], entry.args[4], entry.args[5]}};
            const Result<i64> result = run_one(entry.op, inner);
            if (!result && result.error() == Err::Restart)
                return stop_within(call, at, entry, inner, count - done);
            TRY(write_result(at, result ? result.value() : -static_cast<i64>(result.error())));
            ++done;
            const bool stopped = call.vcpu.sched.stops.load(std::memory_order_relaxed) != 0;
            if ((stopped || must_yield()) && done < count)
                return call.resume_later(list.at(done).address, count - done);
        }
    }
    return i64{0};
}

} // namespace domus::hv
