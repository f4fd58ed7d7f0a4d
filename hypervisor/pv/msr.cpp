// Model-specific registers by allow-list; everything else is #GP for the guest (ISOLATION: MSR class).
// Owner: the vcpu on this CPU.
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/emulate.hpp"

namespace domus::hv {
namespace {

enum Msr : u32 {
    tsc = 0x10,
    apic_base = 0x1b,
    feature_control = 0x3a,
    microcode = 0x8b,
    mcg_cap = 0x179,
    mcg_status = 0x17a,
    misc_enable = 0x1a0,
    pat = 0x277,
    efer = 0xc0000080,
    fs_base = 0xc0000100,
    gs_base = 0xc0000101,
    kernel_gs_base = 0xc0000102,
    syscfg = 0xc0010010,
    hwcr = 0xc0010015,
    nb_cfg = 0xc001001f,
};

} // namespace

Result<u64> guest_read_msr(Vcpu& v, u32 number) {
    switch (number) {
    case fs_base:
        return arch::fs_base();
    case gs_base:
        return arch::gs_base();
    case kernel_gs_base:
        return arch::other_gs_base();
    case efer:
        return TRY(arch::read_guest_msr(efer)) & 0xd01; // SCE, LME, LMA, NXE
    case apic_base:
        return TRY(arch::read_guest_msr(apic_base)) & ~u64{1 << 10};
    case pat:
    case misc_enable:
    case tsc:
        return arch::read_guest_msr(number);
    case feature_control:
        return u64{1};
    case microcode:
    case mcg_cap:
    case mcg_status:
    case syscfg:
    case hwcr:
    case nb_cfg:
        return u64{0};
    default:
        why(v.domain, "MSR {x} may not be read", number);
        return Err::Perm;
    }
}

Result<void> guest_write_msr(Vcpu& v, u32 number, u64 value) {
    switch (number) {
    case fs_base:
    case gs_base:
    case kernel_gs_base:
        if (!is_canonical(value))
            return Err::Inval; // #GP, as WRMSR itself
        if (number == fs_base)
            arch::set_fs_base(value);
        else if (number == gs_base)
            arch::set_gs_base(value);
        else
            arch::set_other_gs_base(value);
        return {};
    case efer:
    case pat:
    case apic_base:
    case misc_enable: // what stands there may be written again
        if (TRY(guest_read_msr(v, number)) == value)
            return {};
        break;
    case microcode:
        return {}; // written before the revision is read
    default:
        break;
    }
    why(v.domain, "MSR {x} may not be written ({x})", number, value);
    return Err::Perm;
}

} // namespace domus::hv
