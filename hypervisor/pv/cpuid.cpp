// What CPUID tells a PV guest: the machine's answer, less what a guest in ring 3 cannot use, plus the hypervisor's
// leaves. The allow-lists name what is passed on; bits nobody judged are hidden. Owner: start-up, which sets the one
// choice there is.
#include "hypervisor/abi/domus.h"
#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/extension.hpp"
#include "hypervisor/pv/emulate.hpp"

namespace domus::hv {
namespace {

template <class... Bits>
constexpr u32 bits(Bits... n) {
    return (0u | ... | (1u << n));
}

// Leaf 1. Not: VME 1, PSE 3, MTRR 12, PGE 13, PSE36 17, thermal and debug store; MONITOR, VMX, PCID, TSC deadline,
// x2APIC.
constexpr u32 leaf1_edx = bits(0, 2, 4, 5, 6, 7, 8, 9, 11, 15, 16, 19, 23, 24, 25, 26);
constexpr u32 leaf1_ecx = bits(0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 28, 29, 30);
constexpr u32 leaf1_ecx_osxsave = 1u << 27, leaf1_ecx_hypervisor = 1u << 31, edx_apic = 1u << 9;
// Leaf 7: BMI1, AVX2, BMI2, ERMS, RDSEED, ADX, CLFLUSHOPT, CLWB, SHA. Not: FSGSBASE, SMEP, INVPCID, SMAP, PKU, UMIP,
// LA57.
constexpr u32 leaf7_ebx = bits(3, 5, 8, 9, 18, 19, 23, 24, 29), leaf7_ebx_erms = bits(9);
constexpr u32 leaf7_ecx = bits(22);
// Extended; the lower half repeats leaf 1. Not: FFXSR, 1 GiB pages, RDTSCP (its register would leak between guests),
// SVM.
constexpr u32 ext1_edx = bits(0, 2, 4, 5, 6, 7, 8, 9, 11, 15, 16, 20, 23, 24, 29);
constexpr u32 ext1_ecx = bits(0, 5, 6, 7, 8, 11, 16, 21);

constinit bool byte_moves = true;

CpuidAnswer machine(u32 leaf, u32 subleaf = 0) {
    const auto r = arch::machine_cpuid(leaf, subleaf);
    return {r.eax, r.ebx, r.ecx, r.edx};
}

CpuidAnswer features(const Vcpu& v) {
    CpuidAnswer a = machine(1);
    a.ebx = (a.ebx & 0x0000ffff) | (v.id.n * 2) << 24 | 1 << 16;
    a.ecx = (a.ecx & leaf1_ecx) | leaf1_ecx_hypervisor;
    if (a.ecx & 1u << 26)
        a.ecx |= leaf1_ecx_osxsave;
    a.edx &= leaf1_edx;
    if (!v.domain.privileged)
        a.edx &= ~edx_apic;
    return a;
}

CpuidAnswer xsave(u32 subleaf) {
    const u64 allowed = arch::xcr0_allowed();
    if (subleaf == 0) {
        CpuidAnswer a = machine(0xd, 0);
        a.eax = static_cast<u32>(allowed);
        a.edx = static_cast<u32>(allowed >> 32);
        a.ecx = allowed & 4 ? 832 : 576; // legacy area, header, AVX
        a.ebx = arch::xcr0() & 4 ? 832 : 576;
        return a;
    }
    if (subleaf == 1)
        return {machine(0xd, 1).eax & 1, 0, 0, 0}; // XSAVEOPT; XSAVES is privileged
    return subleaf < 63 && (allowed >> subleaf & 1) ? machine(0xd, subleaf) : CpuidAnswer{};
}

CpuidAnswer text(u32 eax, const char* twelve) {
    CpuidAnswer a{eax, 0, 0, 0};
    __builtin_memcpy(&a.ebx, twelve, 4);
    __builtin_memcpy(&a.ecx, twelve + 4, 4);
    __builtin_memcpy(&a.edx, twelve + 8, 4);
    return a;
}

// <xen/arch-x86/cpuid.h>; 0x40000100 on: Domus' own, docs/abi-extensions.md.
CpuidAnswer hypervisor_leaf(const Vcpu& v, u32 leaf, u32 subleaf) {
    switch (leaf) {
    case 0x40000000:
        return text(0x40000003, "XenVMMXenVMM");
    case 0x40000001:
        return {4 << 16 | 17, 0, 0, 0};
    case 0x40000002:
        return {1, 0x40000200, 1, 0};
    case 0x40000003: {
        const auto scale = arch::tsc_scale();
        if (subleaf == 0)
            return {0x2, 2, arch::tsc_khz(), 0}; // host TSC is safe; tsc_mode native
        if (subleaf == 1)
            return {0, 0, scale.tsc_to_system_mul, static_cast<u32>(scale.tsc_shift) & 0xff};
        return {arch::tsc_khz(), 0, 0, 0};
    }
    case 0x40000100:
        return text(0x40000101, "DomusDomusDo");
    case 0x40000101:
        return {DOMUS_EXT_INTERFACE_VERSION, __HYPERVISOR_arch_7, v.domain.id.n, extension_features};
    default:
        return {};
    }
}

CpuidAnswer extended(const Vcpu& v, u32 leaf, u32 subleaf) {
    CpuidAnswer a = machine(leaf, subleaf);
    switch (leaf) {
    case 0x80000000:
        a.eax = a.eax > 0x80000008 ? 0x80000008 : a.eax;
        return a;
    case 0x80000001:
        a.ecx &= ext1_ecx;
        a.edx &= v.domain.privileged ? ext1_edx : ext1_edx & ~edx_apic;
        return a;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
    case 0x80000005:
    case 0x80000006:
        return a;
    case 0x80000007:
        a.eax = a.ebx = a.ecx = 0;
        a.edx &= 1 << 8;
        return a; // invariant TSC
    case 0x80000008:
        a.ebx = 0;
        a.ecx = 0;
        a.edx = 0;
        a.eax = (a.eax & 0xff) | 48 << 8;
        return a;
    default:
        return {};
    }
}

} // namespace

void offer_byte_moves(bool offered) {
    byte_moves = offered;
}

CpuidAnswer guest_cpuid(const Vcpu& v, u32 leaf, u32 subleaf) {
    if (leaf >= 0x40000000 && leaf < 0x40010000)
        return hypervisor_leaf(v, leaf, subleaf);
    if (leaf >= 0x80000000)
        return extended(v, leaf, subleaf);
    switch (leaf) {
    case 0: {
        CpuidAnswer a = machine(0);
        a.eax = a.eax > 0xd ? 0xd : a.eax;
        return a;
    }
    case 1:
        return features(v);
    case 2:
    case 4:
        return machine(leaf, subleaf);
    case 7: {
        if (subleaf != 0)
            return {};
        const CpuidAnswer a = machine(7, 0);
        return {0, a.ebx & leaf7_ebx & (byte_moves ? ~0u : ~leaf7_ebx_erms), a.ecx & leaf7_ecx, 0};
    }
    case 0xd:
        return xsave(subleaf);
    default:
        return {};
    }
}

} // namespace domus::hv
