// Several hypercalls in one crossing. Owner: the vcpu on this CPU. Each entry is judged as if it were called alone.
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/hypercalls_pv.hpp"

namespace domus::hv {
namespace {

Result<void> write_result(GuestPtr<multicall_entry_t> entry, i64 result) {
    const u64 value = static_cast<u64>(result);
    return copy_out_bytes(entry.address + offsetof(multicall_entry_t, result), &value, sizeof value);
}

} // namespace

Result<i64> multicall(Call& call, GuestPtr<multicall_entry_t> list, u32 count) {
    for (u32 i = 0; i < count; ++i) {
        const auto at = list.at(i);
        multicall_entry_t entry = TRY(copy_in(at));
        // iret changes the registers that this list itself is running on; multicalls within each other would eat up the
        // stack. A number with upper bits is none: it must not become one of these when they are cut off.
        if (entry.op == __HYPERVISOR_iret || entry.op == __HYPERVISOR_multicall || entry.op >> 32 != 0) {
            why(call.domain, "multicall entry {}: hypercall {} is not allowed inside a multicall", i, entry.op);
            TRY(write_result(at, -static_cast<i64>(Err::NoSys)));
            continue;
        }
        Call inner{call.vcpu,
                   call.domain,
                   {entry.args[0], entry.args[1], entry.args[2], entry.args[3], entry.args[4], entry.args[5]}};
        const Result<i64> result = dispatch(static_cast<u32>(entry.op), inner);
        if (!result && result.error() == Err::Restart) {
            for (u32 a = 0; a < 6; ++a)
                entry.args[a] = inner.args[a];
            TRY(copy_out(at, entry));
            return call.resume_later(at.address, count - i);
        }
        TRY(write_result(at, result ? result.value() : -static_cast<i64>(result.error())));
        const bool stopped = call.vcpu.sched.stops.load(std::memory_order_relaxed) != 0;
        if ((stopped || must_yield()) && i + 1 < count)
            return call.resume_later(at.at(1).address, count - i - 1);
    }
    return i64{0};
}

} // namespace domus::hv
