// The first C++ that runs: from boot.S to the idle loop, in order. One CPU, paging by boot.S's tables.
#include "hypervisor/abi/domus.h"
#include "hypervisor/arch/iface/clock.hpp"
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/arch/x86_64/acpi.hpp"
#include "hypervisor/arch/x86_64/apic.hpp"
#include "hypervisor/arch/x86_64/clock.hpp"
#include "hypervisor/arch/x86_64/cpu.hpp"
#include "hypervisor/arch/x86_64/descriptors.hpp"
#include "hypervisor/arch/x86_64/fpu.hpp"
#include "hypervisor/arch/x86_64/paging.hpp"
#include "hypervisor/arch/x86_64/power.hpp"
#include "hypervisor/arch/x86_64/serial.hpp"
#include "hypervisor/boot/boot_info.hpp"
#include "hypervisor/boot/dom0.hpp"
#include "hypervisor/boot/options.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/extension.hpp"
#include "hypervisor/core/frame_table.hpp"
#include "hypervisor/core/frames.hpp"
#include "hypervisor/core/hypercall.hpp"
#include "hypervisor/core/machine_map.hpp"
#include "hypervisor/core/sched.hpp"
#include "hypervisor/core/time.hpp"
#include "hypervisor/core/version.hpp"
#include "hypervisor/pv/emulate.hpp"
#include "hypervisor/pv/ports.hpp"
#include "hypervisor/pv/table_ways.hpp"
#include "hypervisor/pv/unhooked.hpp"

extern "C" {
extern domus::u8 image_end[];
[[noreturn]] void restart_idle(domus::hv::arch::CpuInfo*);
[[noreturn]] void continue_on_cpu_stack(domus::hv::arch::CpuInfo*, void (*)(domus::hv::arch::CpuInfo*, void*), void*);
}

namespace domus::hv {

namespace arch {
void patch_smap_instructions();
}

namespace {

// RAM as the frame table counts it: below 1 MiB the BIOS area stays a device.
u32 ram_ranges(const BootInfo& boot, std::span<arch::RamRange> to) {
    u32 count = 0;
    for (const auto& r : boot.memory()) {
        const u64 start = round_up(r.start, page_size), end = round_down(r.end, page_size);
        if (r.type == boot_ram && start < end && count < to.size())
            to[count++] = {start, end};
    }
    return count;
}

void judge_modules(const BootInfo& boot) {
    for (u32 i = 0; i < boot.module_count; ++i) {
        const BootModule& m = boot.modules[i];
        if (!is_boot_ram(boot, m.start, m.end))
            panic("boot module {} at {x} to {x} does not lie in RAM", i, m.start, m.end);
        if (m.text.cut)
            log(Level::Warning, "the command line of boot module {} is cut off after {} characters", i,
                m.text.view().size());
    }
    if (boot.modules_left_out != 0)
        log(Level::Warning, "{} boot modules are more than are used, and left alone", boot.modules_left_out);
    if (boot.command_line.cut)
        log(Level::Warning, "the hypervisor's command line is cut off after {} characters", boot.options().size());
}

void declare_machine_map(const BootInfo& boot) {
    static constinit MapEntry entries[128]{};
    u32 count = 0;
    for (const auto& r : boot.memory()) {
        if (r.start < r.end)
            entries[count++] = {r.start, r.end - r.start, r.type};
    }
    set_machine_map({entries, count});
}

// Frames between the ranges of RAM are devices to everyone; the interrupt controllers are nobody's.
void declare_devices(std::span<const arch::RamRange> ram) {
    set_physical_address_bits(arch::cpuid(0x80000008).eax & 0xff);
    u64 next = 0;
    for (const auto& r : ram) {
        declare_device_frames(Mfn(next), Mfn(r.start / page_size));
        next = r.end / page_size;
    }
    forbid_device_frames(Mfn(0xfee00), Mfn(0xfee01));
    forbid_device_frames(Mfn(arch::acpi().io_apic_address / page_size),
                         Mfn(arch::acpi().io_apic_address / page_size + 1));
}

void start_memory(const BootInfo& boot) {
    static constinit arch::RamRange ram[128]{};
    const u32 count = ram_ranges(boot, ram);
    if (count == 0)
        panic("the boot loader named no memory");
    judge_modules(boot);
    arch::RamRange taken[2 + 4] = {{0, 0x100000}, {0x100000, reinterpret_cast<u64>(image_end) - arch::image_base}};
    u32 taken_count = 2;
    for (u32 i = 0; i < boot.module_count; ++i)
        taken[taken_count++] = {boot.modules[i].start, boot.modules[i].end};
    arch::boot_memory_start({ram, count}, {taken, taken_count});
    arch::read_acpi(boot.rsdp);
    arch::build_address_space({ram, count});
    declare_devices({ram, count});
    declare_machine_map(boot);
}

void set_protection_bits() {
    const u32 features = arch::cpuid(7).ebx;
    u64 bits = arch::read_cr4();
    if (features & 1u << 7)
        bits |= arch::cr4::smep;
    if (features & 1u << 20)
        bits |= arch::cr4::smap;
    arch::write_cr4(bits);
    arch::patch_smap_instructions();
}

void choose_byte_moves(const Options& options) {
    const bool offered = options.erms ? *options.erms : arch::byte_moves_are_fast();
    offer_byte_moves(offered);
    const char* why = offered ? "measured: fast" : "measured: slow";
    if (options.erms)
        why = offered ? "erms=1" : "erms=0";
    log(Level::Info, "byte moves ({}) are {} guests, whose kernels copy and clear {}", why,
        offered ? "shown to" : "kept from", offered ? "by them" : "in eights");
}

void make_idle_vcpu(arch::CpuInfo& cpu) {
    auto* domain = make<Domain>(DomId(DOMID_IDLE));
    auto* vcpu = make<Vcpu>(*domain, VcpuId(cpu.cpu));
    if (!domain || !vcpu)
        panic("no memory for the idle vcpu");
    vcpu->is_idle = true;
    cpu.current = cpu.idle = vcpu;
    sched_add_idle(CpuId(cpu.cpu), *vcpu);
}

// The decoders read a stack-protector canary at fs:0x28; nothing else uses FS in the hypervisor.
void build_dom0_with_canary(const BootInfo& boot, const Options& options) {
    alignas(64) static constinit u8 canary_page[64] = {};
    arch::set_fs_base(reinterpret_cast<u64>(canary_page));
    build_dom0(boot, options);
    arch::set_fs_base(0);
}

struct Start {
    const BootInfo& boot;
    const Options& options;
};

// From here on the CPU's own stack is in use, and with it current() and everything per CPU.
void start_domains(arch::CpuInfo* cpu, void* start_argument) {
    const auto& start = *static_cast<Start*>(start_argument); // on the boot stack, which stays
    arch::boot_memory_finish(add_free_frames);
    log(Level::Info, "{} MiB of memory free", free_frame_count() >> 8);
    arch::fpu_start();
    arch::apic_start();
    arch::clock_start();
    sched_start();
    make_idle_vcpu(*cpu);
    wall_clock_start();
    build_dom0_with_canary(start.boot, start.options);
    mark_free_frames_dirty();
    arch::route_legacy_irq(4, arch::vector_console);
    arch::serial_enable_input();
    if (!unpause_by_controller(*dom0()))
        panic("dom0 is paused for a reason that nobody knows");
    restart_idle(cpu);
}

} // namespace

extern "C" [[noreturn]] void start_hypervisor(u32 magic, u64 information) {
    static constinit BootInfo boot{};
    constexpr u64 mapped_by_boot = u64{4} << 30; // boot.S
    const std::span<const u8> memory(reinterpret_cast<const u8*>(arch::direct_map), mapped_by_boot);
    const bool known_loader = read_boot_info(magic, information, memory, boot);
    const Options options = parse_options(boot.options());
    arch::serial_start(options.serial_port, options.baud);
    set_console_ports(options.serial_port);
    arch::set_reboot_on_panic(!options.noreboot);
    set_log_levels(options.log_level, options.guest_level);
    log(Level::Info, "Domus " DOMUS_VERSION ", a paravirtualizing hypervisor");
    if (!known_loader)
        panic("not started by a multiboot loader (magic {x})", magic);
    if (options.unknown[0])
        log(Level::Warning, "options without meaning here:{}", std::string_view(options.unknown));
    set_extension_features(options.superpages ? options.extension : options.extension & ~DOMUS_FEATURE_superpages);
    set_command_line(boot.options());
    set_protection_bits(); // before the image becomes read-only
    start_memory(boot);
    set_unhook_after(options.unhook);
    table_ways = options.fast_tables;
    choose_byte_moves(options);
    if (options.fast_hypercall)
        switch_short_hypercalls_on();
    arch::choose_entries(options.fast_syscall, options.fast_iret, options.fast_fault);
    arch::CpuInfo& cpu = arch::start_cpu_descriptors(0);
    Start start{boot, options};
    continue_on_cpu_stack(&cpu, start_domains, &start);
}

} // namespace domus::hv
