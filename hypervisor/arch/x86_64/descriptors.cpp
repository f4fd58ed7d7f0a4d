// GDT, TSS, IDT, SYSCALL registers of each CPU, and each vcpu's window through which its own GDT and LDT pages are
// seen. Owner: the CPU (its tables), the vcpu (its window). Windows: made and freed under Rank::Control.
#include "hypervisor/arch/x86_64/descriptors.hpp"

#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/arch/x86_64/cpu.hpp"
#include "hypervisor/arch/x86_64/paging.hpp"
#include "hypervisor/arch/x86_64/percpu.hpp"
#include "hypervisor/base/bitmap.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/log.hpp"

extern "C" domus::u8 trap_stubs[], syscall_entry[], fast_entry[], fast_entry_syscall[], fast_entry_iret[];
extern "C" domus::u8 fast_entry_hypercall[], fast_page_fault[];

namespace domus::hv::arch {
namespace {

struct [[gnu::packed]] Tss {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3, io_map;
};
struct [[gnu::packed]] TablePointer {
    u16 limit;
    u64 base;
};
struct Gate {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_middle;
    u32 offset_high, reserved;
};
static_assert(sizeof(Gate) == 16);

constexpr u64 gdt_page_offset = 0xe000; // where the hypervisor's page starts in every GDT
constexpr u16 gdt_limit = 0xefff;

alignas(16) constinit Gate idt[256] = {};
constinit CpuInfo* cpus[max_cpus] = {};
constinit u64 gdt_pages[max_cpus] = {}; // machine addresses of each CPU's page

constinit Bitmap<4096> windows{};

constexpr u64 code64(u64 dpl) {
    return 0x00af'9b00'0000'ffff | dpl << 45;
}
constexpr u64 code32(u64 dpl) {
    return 0x00cf'9b00'0000'ffff | dpl << 45;
}
constexpr u64 data(u64 dpl) {
    return 0x00cf'9300'0000'ffff | dpl << 45;
}

void set_system_descriptor(u64* gdt, u32 selector, u64 base, u64 limit, u64 type) {
    const u32 i = (selector - gdt_page_offset) / 8;
    gdt[i] = (limit & 0xffff) | (base & 0xffffff) << 16 | type << 40 | u64{1} << 47 | ((limit >> 16) & 0xf) << 48 |
             ((base >> 24) & 0xff) << 56;
    gdt[i + 1] = base >> 32;
}

u64 stub_of(u32 vector) {
    return reinterpret_cast<u64>(trap_stubs) + u64{16} * vector;
}

constinit bool fault_goes_short = true; // written once, before any CPU's start

void set_gate(u32 vector, u32 dpl, u32 ist, u64 target) {
    idt[vector] = {static_cast<u16>(target),
                   SELECTOR_HV_CODE,
                   static_cast<u8>(ist),
                   static_cast<u8>(0x8e | dpl << 5),
                   static_cast<u16>(target >> 16),
                   static_cast<u32>(target >> 32),
                   0};
}

void build_idt() {
    for (u32 v = 0; v < 256; ++v)
        set_gate(v, v == 3 || v == 4 || v == 0x80 ? 3 : 0, 0, stub_of(v));
    set_gate(2, 0, 1, stub_of(2));
    set_gate(8, 0, 2, stub_of(8));
    set_gate(18, 0, 3, stub_of(18));
    set_gate(1, 0, 4, stub_of(1));
    if (fault_goes_short)
        set_gate(14, 0, 0, reinterpret_cast<u64>(fast_page_fault));
}

constinit u8* chosen_syscall_entry = fast_entry; // written once, before any CPU's stub

// movabs %rax, scratch; mov %rsp, %rax; movabs $end of regs, %rsp; jmp to the chosen entry
void write_syscall_stub(u8* code, CpuInfo& cpu) {
    const u64 scratch = reinterpret_cast<u64>(&cpu.scratch), top = reinterpret_cast<u64>(&cpu.regs + 1);
    u8* p = code;
    *p++ = 0x48, *p++ = 0xa3;
    __builtin_memcpy(p, &scratch, 8), p += 8;
    *p++ = 0x48, *p++ = 0x89, *p++ = 0xe0;
    *p++ = 0x48, *p++ = 0xbc;
    __builtin_memcpy(p, &top, 8), p += 8;
    *p++ = 0xff, *p++ = 0x25, *p++ = 0, *p++ = 0, *p++ = 0, *p++ = 0; // jmp *(%rip)
    const u64 entry = reinterpret_cast<u64>(chosen_syscall_entry);
    __builtin_memcpy(p, &entry, 8);
}

u64 make_stub_page(CpuInfo& cpu) {
    const u64 machine = boot_allocate(page_size);
    write_syscall_stub(frame_pointer(frame_of(Maddr(machine))), cpu);
    const u64 address = image_base + (u64{1} << 30) + cpu.cpu * page_size;
    set_hypervisor_page(address, machine | pte::present | pte::accessed | pte::global);
    return address;
}

void set_syscall_registers(u64 stub) {
    write_msr(msr::star, u64{SELECTOR_USER_CODE32} << 48 | u64{SELECTOR_HV_CODE} << 32);
    write_msr(msr::lstar, stub);
    write_msr(msr::cstar, stub); // 32-bit SYSCALL arrives the same way; pv/ refuses what it cannot serve
    write_msr(msr::syscall_mask, rflags::interrupt | rflags::tf | rflags::df | rflags::nt | rflags::ac | rflags::iopl |
                                     rflags::rf | rflags::vm);
    write_msr(msr::sysenter_cs, 0); // SYSENTER is #GP, whatever the firmware left there
    write_msr(msr::efer, read_msr(msr::efer) | efer::sce | efer::nxe);
}

void load_gdt(u64 base) {
    const TablePointer pointer{gdt_limit, base};
    asm volatile("lgdt %0" ::"m"(pointer));
}

} // namespace

void choose_entries(bool fast_syscall, bool fast_iret, bool fast_fault) {
    fault_goes_short = fast_fault;
    chosen_syscall_entry = fast_syscall && fast_iret ? fast_entry
                           : fast_syscall            ? fast_entry_syscall
                           : fast_iret               ? fast_entry_iret
                                                     : fast_entry_hypercall;
}

CpuInfo& start_cpu_descriptors(u32 cpu) {
    const u64 block = direct_map + boot_allocate(CPU_BLOCK_SIZE, CPU_BLOCK_SIZE);
    auto& info = *reinterpret_cast<CpuInfo*>(block + CPU_BLOCK_SIZE - CPU_INFO_SIZE);
    info.cpu = cpu;
    cpus[cpu] = &info;

    gdt_pages[cpu] = boot_allocate(page_size);
    auto* gdt = frame_as<u64>(frame_of(Maddr(gdt_pages[cpu])));
    gdt[1] = code64(0);
    gdt[2] = data(0);
    gdt[4] = code32(3);
    gdt[5] = data(3);
    gdt[6] = code64(3);
    auto* tss = frame_as<Tss>(frame_of(Maddr(boot_allocate(page_size))));
    tss->rsp[0] = reinterpret_cast<u64>(&info.regs + 1);
    for (u32 i = 0; i < 4; ++i)
        tss->ist[i] = block + (i + 1) * page_size;
    tss->io_map = sizeof(Tss);
    set_system_descriptor(gdt, SELECTOR_TSS, reinterpret_cast<u64>(tss), sizeof(Tss) - 1, 9);

    load_gdt(reinterpret_cast<u64>(gdt) - gdt_page_offset);
    build_idt();
    const TablePointer idt_pointer{sizeof idt - 1, reinterpret_cast<u64>(idt)};
    asm volatile("lidt %0" ::"m"(idt_pointer));
    asm volatile("ltr %w0" ::"r"(SELECTOR_TSS));
    asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs; mov %1, %%ss" ::"r"(0),
                 "r"(SELECTOR_HV_DATA));
    asm volatile("pushq %0; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:" ::"i"(SELECTOR_HV_CODE) : "rax", "memory");
    set_syscall_registers(make_stub_page(info));
    return info;
}

CpuInfo* cpu_info_of(CpuId id) {
    return id.n < max_cpus ? cpus[id.n] : nullptr;
}

// --- windows (arch/iface/context.hpp) ---

namespace {
u64 window_address(u32 window) {
    return window_base + window * window_pages * page_size;
}
constexpr u64 window_data = pte::present | pte::writable | pte::accessed | pte::dirty | pte::no_execute;

// A page of the guest's part that it gave no frame for: empty descriptors, so that loading one is #GP and not a page
// fault at an address the guest does not know.
u64 empty_page_entry() {
    static constinit u64 machine = 0;
    if (!machine) {
        auto frame = allocate_frames(0);
        if (!frame)
            panic("no memory for an empty descriptor page");
        machine = base_of(frame.value()).n;
    }
    return machine | pte::present | pte::accessed | pte::no_execute;
}
} // namespace

Result<u32> allocate_window() {
    for (u32 i = 1; i < 4096; ++i) {
        if (windows.test(i))
            continue;
        windows.set(i);
        for (u32 page = 0; page < gdt_guest_pages; ++page)
            map_window_gdt(i, page, invalid_mfn);
        return i;
    }
    return Err::NoMem;
}

void free_window(u32 window) {
    for (u32 page = 0; page < window_pages; ++page)
        set_hypervisor_page(window_address(window) + page * page_size, 0);
    windows.clear(window);
}

void map_window_gdt(u32 window, u32 page, Mfn frame) {
    set_hypervisor_page(window_address(window) + page * page_size,
                        frame == invalid_mfn ? empty_page_entry() : base_of(frame).n | window_data);
}
void map_window_ldt(u32 window, u32 page, Mfn frame) {
    set_hypervisor_page(window_address(window) + ldt_window_offset + page * page_size,
                        frame == invalid_mfn ? 0 : base_of(frame).n | window_data);
}

void load_descriptor_tables(Vcpu& v) {
    CpuInfo& cpu = cpu_info();
    const u64 window = window_address(v.window);
    map_window_gdt(v.window, gdt_guest_pages, frame_of(Maddr(gdt_pages[cpu.cpu])));
    load_gdt(window);
    u16 selector = 0;
    if (v.pv.ldt_entries != 0) {
        auto* gdt = frame_as<u64>(frame_of(Maddr(gdt_pages[cpu.cpu])));
        set_system_descriptor(gdt, SELECTOR_LDT, window + ldt_window_offset, v.pv.ldt_entries * 8 - 1, 2);
        selector = SELECTOR_LDT;
    }
    asm volatile("lldt %w0" ::"r"(selector));
}

} // namespace domus::hv::arch
