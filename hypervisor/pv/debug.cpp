// Debug registers (ISOLATION: debug class): addresses only in guest space, DR7 without general detect and reserved
// bits. Owner: the calling vcpu.
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/hypercalls_pv.hpp"

namespace domus::hv {
namespace {

constexpr u64 dr7_settable = 0xffff03ff; // conditions, lengths, enables; not GD
constexpr u64 dr7_fixed = 0x400;

Result<void> judge_dr7(u64 value) {
    if (value >> 32)
        return Err::Perm;
    for (u32 i = 0; i < 4; ++i) {
        const u64 condition = value >> (16 + 4 * i) & 3;
        if ((value >> (2 * i) & 3) && condition == 2) // I/O breakpoints
            return Err::Perm;
    }
    return {};
}

} // namespace

Result<void> set_debugreg(Call& call, i32 number, u64 value) {
    Vcpu& v = call.vcpu;
    switch (number) {
    case 0:
    case 1:
    case 2:
    case 3:
        if (!arch::is_guest_range(Vaddr(value), 8)) {
            why(call.domain, "breakpoint address {x} is not a guest address", value);
            return Err::Perm;
        }
        v.pv.dr[static_cast<u32>(number)] = value;
        break;
    case 4:
    case 6:
        v.pv.dr[6] = (value & 0xe00f) | 0xffff0ff0;
        return {};
    case 5:
    case 7:
        TRY(judge_dr7(value));
        v.pv.dr[7] = (value & dr7_settable) | dr7_fixed;
        break;
    default:
        return Err::NoDev;
    }
    arch::load_debug_registers(v);
    return {};
}

Result<i64> get_debugreg(Call& call, i32 number) {
    switch (number) {
    case 0:
    case 1:
    case 2:
    case 3:
        return static_cast<i64>(call.vcpu.pv.dr[static_cast<u32>(number)]);
    case 4:
    case 6:
        return static_cast<i64>(call.vcpu.pv.dr[6] | 0xffff0ff0);
    case 5:
    case 7:
        return static_cast<i64>(call.vcpu.pv.dr[7] | dr7_fixed);
    default:
        return Err::Inval;
    }
}

} // namespace domus::hv
