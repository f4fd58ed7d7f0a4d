// x86 instructions by name. The only inline assembly of the project besides entry.S, boot.S and user_copy.S.
#pragma once

#include "hypervisor/base/types.hpp"

namespace domus::hv::arch {

struct CpuidLeaf {
    u32 eax, ebx, ecx, edx;
};
inline CpuidLeaf cpuid(u32 leaf, u32 subleaf = 0) {
    CpuidLeaf r;
    asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

inline u64 read_msr(u32 msr) {
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return u64{high} << 32 | low;
}
inline void write_msr(u32 msr, u64 value) {
    asm volatile("wrmsr" ::"c"(msr), "a"(static_cast<u32>(value)), "d"(static_cast<u32>(value >> 32)) : "memory");
}

inline u64 read_tsc() {
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return u64{high} << 32 | low;
}

inline void move_bytes(void* to, const void* from, u64 bytes) {
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}
inline void move_eights(void* to, const void* from, u64 eights) {
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(eights) : : "memory");
}

inline u64 read_cr0() {
    u64 v;
    asm volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}
inline u64 read_cr2() {
    u64 v;
    asm volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}
inline u64 read_cr3() {
    u64 v;
    asm volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}
inline u64 read_cr4() {
    u64 v;
    asm volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}
inline void write_cr0(u64 v) {
    asm volatile("mov %0, %%cr0" ::"r"(v) : "memory");
}
inline void write_cr3(u64 v) {
    asm volatile("mov %0, %%cr3" ::"r"(v) : "memory");
}
inline void write_cr4(u64 v) {
    asm volatile("mov %0, %%cr4" ::"r"(v) : "memory");
}
inline void clear_task_switched() {
    asm volatile("clts");
}
inline void invalidate_page(u64 address) {
    asm volatile("invlpg (%0)" ::"r"(address) : "memory");
}

inline u8 in8(u16 port) {
    u8 v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
inline u16 in16(u16 port) {
    u16 v;
    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
inline u32 in32(u16 port) {
    u32 v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
inline void out8(u16 port, u8 v) {
    asm volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
inline void out16(u16 port, u16 v) {
    asm volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
inline void out32(u16 port, u32 v) {
    asm volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}

inline void write_back_and_invalidate_caches() {
    asm volatile("wbinvd" ::: "memory");
}

// (high << 32) / divisor, exactly, for high < divisor.
inline u64 divide_shifted_32(u64 high, u64 divisor) {
    u64 quotient, rest;
    asm("divq %4" : "=a"(quotient), "=d"(rest) : "a"(high << 32), "d"(high >> 32), "r"(divisor));
    return quotient;
}

inline void pause() {
    asm volatile("pause");
}
inline void interrupts_on_once() {
    asm volatile("sti; nop; cli" ::: "memory");
}
inline void halt_until_interrupt() {
    asm volatile("sti; hlt; cli" ::: "memory");
}
[[noreturn]] inline void halt_forever() {
    for (;;)
        asm volatile("cli; hlt");
}

inline void write_xcr0(u64 v) {
    asm volatile("xsetbv" ::"c"(0), "a"(static_cast<u32>(v)), "d"(static_cast<u32>(v >> 32)));
}

inline u64 read_dr(u32 n) {
    u64 v = 0;
    switch (n) {
    case 0:
        asm volatile("mov %%dr0, %0" : "=r"(v));
        break;
    case 1:
        asm volatile("mov %%dr1, %0" : "=r"(v));
        break;
    case 2:
        asm volatile("mov %%dr2, %0" : "=r"(v));
        break;
    case 3:
        asm volatile("mov %%dr3, %0" : "=r"(v));
        break;
    case 6:
        asm volatile("mov %%dr6, %0" : "=r"(v));
        break;
    case 7:
        asm volatile("mov %%dr7, %0" : "=r"(v));
        break;
    default:
        break;
    }
    return v;
}
inline void write_dr(u32 n, u64 v) {
    switch (n) {
    case 0:
        asm volatile("mov %0, %%dr0" ::"r"(v));
        break;
    case 1:
        asm volatile("mov %0, %%dr1" ::"r"(v));
        break;
    case 2:
        asm volatile("mov %0, %%dr2" ::"r"(v));
        break;
    case 3:
        asm volatile("mov %0, %%dr3" ::"r"(v));
        break;
    case 6:
        asm volatile("mov %0, %%dr6" ::"r"(v));
        break;
    case 7:
        asm volatile("mov %0, %%dr7" ::"r"(v));
        break;
    default:
        break;
    }
}
inline constexpr u64 dr6_idle = 0xffff0ff0; // nothing happened

namespace msr {
inline constexpr u32 apic_base = 0x1b, sysenter_cs = 0x174, efer = 0xc0000080, star = 0xc0000081, lstar = 0xc0000082,
                     cstar = 0xc0000083, syscall_mask = 0xc0000084, fs_base = 0xc0000100, gs_base = 0xc0000101,
                     kernel_gs_base = 0xc0000102, pat = 0x277;
}
namespace cr4 {
inline constexpr u64 pae = 1 << 5, pge = 1 << 7, osfxsr = 1 << 9, osxmmexcpt = 1 << 10, fsgsbase = 1 << 16,
                     osxsave = 1 << 18, smep = 1 << 20, smap = 1 << 21;
}
namespace efer {
inline constexpr u64 sce = 1, lme = 1 << 8, lma = 1 << 10, nxe = 1 << 11;
}
namespace cr0 {
inline constexpr u64 mp = 1 << 1, em = 1 << 2, ts = 1 << 3, ne = 1 << 5, wp = 1 << 16, pg = u64{1} << 31;
}
namespace rflags {
inline constexpr u64 tf = 1 << 8, interrupt = 1 << 9, df = 1 << 10, iopl = 3 << 12, nt = 1 << 14, rf = 1 << 16,
                     vm = 1 << 17, ac = 1 << 18;
}

} // namespace domus::hv::arch
