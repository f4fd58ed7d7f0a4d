// Local APIC and I/O APIC by memory-mapped registers (SDM volume 3, chapter 11; 82093AA data sheet).
// Owner: each CPU its local APIC; the I/O APIC: boot.
#include "hypervisor/arch/x86_64/apic.hpp"

#include "hypervisor/arch/x86_64/acpi.hpp"
#include "hypervisor/arch/x86_64/cpu.hpp"
#include "hypervisor/arch/x86_64/paging.hpp"
#include "hypervisor/arch/x86_64/percpu.hpp"

namespace domus::hv::arch {
namespace {

constinit volatile u32* apic = nullptr;
constinit volatile u32* io_apic = nullptr;

enum Register : u32 {
    id = 0x20,
    task_priority = 0x80,
    end_of_interrupt = 0xb0,
    spurious = 0xf0,
    lvt_timer = 0x320,
    lvt_lint0 = 0x350,
    lvt_lint1 = 0x360,
    lvt_error = 0x370,
    timer_initial = 0x380,
    timer_current = 0x390,
    timer_divide = 0x3e0,
};
constexpr u32 masked = 1 << 16, delivery_nmi = 4 << 8, divide_by_1 = 0xb;

u32 read(Register r) {
    return apic[r / 4];
}
void write(Register r, u32 v) {
    apic[r / 4] = v;
}

void io_apic_write(u32 index, u32 value) {
    io_apic[0] = index;
    io_apic[4] = value;
}

void mask_old_pic() {
    out8(0x20, 0x11), out8(0xa0, 0x11); // initialise, vectors 0x20.. and 0x28.., then mask all
    out8(0x21, 0x20), out8(0xa1, 0x28);
    out8(0x21, 4), out8(0xa1, 2);
    out8(0x21, 1), out8(0xa1, 1);
    out8(0x21, 0xff), out8(0xa1, 0xff);
}

} // namespace

void apic_start() {
    if (!apic) {
        mask_old_pic();
        apic = static_cast<volatile u32*>(map_device(read_msr(msr::apic_base) & pte::address_mask, page_size));
        io_apic = static_cast<volatile u32*>(map_device(acpi().io_apic_address, page_size));
    }
    write_msr(msr::apic_base, read_msr(msr::apic_base) | 1 << 11);
    write(task_priority, 0);
    write(lvt_lint0, masked);
    write(lvt_lint1, delivery_nmi);
    write(lvt_error, masked);
    write(timer_divide, divide_by_1);
    write(lvt_timer, vector_timer);
    write(timer_initial, 0);
    write(spurious, 0x100 | vector_spurious);
}

void apic_arm_timer(u32 ticks) {
    write(timer_initial, ticks);
}
u32 apic_timer_count() {
    return read(timer_current);
}

void route_legacy_irq(u32 irq, u32 vector) {
    const u32 pin = acpi().irq_to_gsi[irq & 15];
    io_apic_write(0x11 + 2 * pin, read(id) & 0xff000000);
    io_apic_write(0x10 + 2 * pin, vector);
}

void note_interrupt(u32 vector) {
    CpuInfo& cpu = cpu_info();
    switch (vector) {
    case vector_timer:
        cpu.pending.fetch_or(pending_timer);
        break;
    case vector_console:
        cpu.pending.fetch_or(pending_console);
        break;
    case vector_kick:
        cpu.pending.fetch_or(pending_schedule);
        break;
    case vector_spurious:
        return;
    default:
        cpu.vectors[vector / 64] |= u64{1} << (vector % 64);
        cpu.pending.fetch_or(pending_vectors);
        break;
    }
    write(end_of_interrupt, 0);
}

} // namespace domus::hv::arch
