// FPU and XSAVE state. The hypervisor itself uses general registers only, so a vcpu's state stays in the registers
// until another vcpu needs them. Areas are one page each (the allowed features fit, checked at start).
#include "hypervisor/arch/x86_64/fpu.hpp"

#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/arch/x86_64/cpu.hpp"
#include "hypervisor/arch/x86_64/percpu.hpp"
#include "hypervisor/core/frames.hpp"

namespace domus::hv::arch {
namespace {

constinit bool has_xsave = false;
constinit bool keeps_x87_pointers = false;   // of whoever used them last
constinit u64 allowed = 3;                   // XCR0 bits guests may set: x87 and SSE at least
constexpr u64 known = 7;                     // and AVX; larger states do not fit one page and are not offered
constexpr usize xcr0_offset = page_size - 8; // each vcpu's XCR0 is kept at the end of its area

u64& saved_xcr0(Vcpu& v) {
    return *reinterpret_cast<u64*>(v.fpu_area + xcr0_offset);
}

void save(Vcpu& v) {
    if (has_xsave)
        asm volatile("xsave64 (%0)" ::"r"(v.fpu_area), "a"(~0u), "d"(~0u) : "memory");
    else
        asm volatile("fxsave64 (%0)" ::"r"(v.fpu_area) : "memory");
}

// AMD's processors restore the x87 instruction and data pointers only while an exception waits: another domain's would
// stay. Loading a number makes them harmless (ISOLATION: FPU class).
void overwrite_x87_pointers() {
    static constinit u32 zero = 0;
    asm volatile("fnclex; emms; fildl %0" ::"m"(zero));
}

void restore(Vcpu& v) {
    if (keeps_x87_pointers)
        overwrite_x87_pointers();
    if (has_xsave) {
        write_xcr0(allowed); // everything of the image is loaded, so that no other domain's registers stay behind
        asm volatile("xrstor64 (%0)" ::"r"(v.fpu_area), "a"(~0u), "d"(~0u) : "memory");
    } else {
        asm volatile("fxrstor64 (%0)" ::"r"(v.fpu_area) : "memory");
    }
}

} // namespace

void fpu_start() {
    has_xsave = cpuid(1).ecx & (1u << 26);
    if (has_xsave) {
        write_cr4(read_cr4() | cr4::osxsave);
        const CpuidLeaf leaf = cpuid(0xd);
        allowed = (u64{leaf.edx} << 32 | leaf.eax) & known;
        write_xcr0(allowed);
    }
    constexpr u32 auth = 0x68747541, restores_always = 1u << 2;
    const bool told = cpuid(0x80000000).eax >= 0x80000008 && (cpuid(0x80000008).ebx & restores_always) != 0;
    keeps_x87_pointers = cpuid(0).ebx == auth && !told;
    clear_task_switched();
}

void fpu_switch_in(Vcpu& v) {
    CpuInfo& cpu = cpu_info();
    if (cpu.fpu_owner == &v && v.pv.fpu_dirty) {
        if (v.pv.task_switched)
            write_cr0(read_cr0() | cr0::ts);
        return;
    }
    fpu_flush();
    restore(v);
    if (has_xsave)
        write_xcr0(saved_xcr0(v));
    cpu.fpu_owner = &v;
    v.pv.fpu_dirty = true;
    if (v.pv.task_switched)
        write_cr0(read_cr0() | cr0::ts);
}

void fpu_switch_out() {
    clear_task_switched();
}

void fpu_flush() {
    CpuInfo& cpu = cpu_info();
    if (!cpu.fpu_owner)
        return;
    clear_task_switched();
    if (has_xsave)
        write_xcr0(allowed);
    save(*cpu.fpu_owner);
    cpu.fpu_owner->pv.fpu_dirty = false;
    cpu.fpu_owner = nullptr;
}

Result<u8*> allocate_fpu_area() {
    u8* area = frame_pointer(TRY(allocate_frames(0)));
    *reinterpret_cast<u16*>(area) = 0x37f;       // FCW
    *reinterpret_cast<u32*>(area + 24) = 0x1f80; // MXCSR
    *reinterpret_cast<u64*>(area + xcr0_offset) = 1;
    return area;
}

void free_fpu_area(Vcpu& v) {
    if (cpu_info().fpu_owner == &v)
        cpu_info().fpu_owner = nullptr;
    free_frames(frame_of_pointer(v.fpu_area), 0);
    v.fpu_area = nullptr;
}

void set_xcr0(u64 value) {
    write_xcr0(value);
    saved_xcr0(*cpu_info().current) = value;
}

u64 xcr0() {
    return has_xsave && cpu_info().current->fpu_area ? saved_xcr0(*cpu_info().current) : 0;
}
u64 xcr0_allowed() {
    return has_xsave ? allowed : 0;
}

void set_task_switched(bool on) {
    cpu_info().current->pv.task_switched = on;
    if (on)
        write_cr0(read_cr0() | cr0::ts);
    else
        clear_task_switched();
}

} // namespace domus::hv::arch
