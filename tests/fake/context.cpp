// arch/iface/context.hpp on the fake machine. See context.hpp.
#include "tests/fake/context.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/core/frames.hpp"

namespace domus::fake {

Context& context() {
    static Context one;
    return one;
}
void reset_context() {
    context() = Context{};
}

} // namespace domus::fake

namespace domus::hv::arch {
namespace {
u32 windows = 0;

void map_page(std::map<u32, Mfn>& window, u32 page, Mfn mfn) {
    if (mfn == invalid_mfn)
        window.erase(page);
    else
        window.insert_or_assign(page, mfn);
}
} // namespace

using fake::context;

GuestRegs& guest_regs(Vcpu& vcpu) {
    return vcpu.regs;
}
void swap_gs() {
    std::swap(context().gs_base, context().other_gs_base);
}
void set_fs_base(u64 base) {
    context().fs_base = base;
}
void set_gs_base(u64 base) {
    context().gs_base = base;
}
void set_other_gs_base(u64 base) {
    context().other_gs_base = base;
}
bool load_user_gs_selector(u16 selector) {
    context().user_gs_selector = selector;
    return selector == 0;
}
u64 fs_base() {
    return context().fs_base;
}
u64 gs_base() {
    return context().gs_base;
}
u64 other_gs_base() {
    return context().other_gs_base;
}
u16 data_selector(char which) {
    const auto& c = context();
    return which == 'd' ? c.ds : which == 'e' ? c.es : which == 'f' ? c.fs : c.gs;
}
void set_task_switched(bool on) {
    context().task_switched = on;
    current_vcpu().pv.task_switched = on;
}
void load_debug_registers(Vcpu& vcpu) {
    context().debug_control = vcpu.pv.dr[7];
    ++context().debug_loads;
}
u64 debug_status_and_clear() {
    return std::exchange(context().debug_status, 0xffff0ff0);
}
void set_xcr0(u64 value) {
    context().xcr0 = value;
}
u64 xcr0() {
    return context().xcr0;
}
u64 xcr0_allowed() {
    return context().xcr0_allowed;
}
Result<u64> read_guest_msr(u32 number) {
    const auto found = context().msrs.find(number);
    if (found == context().msrs.end())
        return Err::Inval;
    return found->second;
}
u64 fault_address() {
    return context().fault_address;
}
Result<u32> allocate_window() {
    return ++windows;
}
void free_window(u32) {}
void map_window_gdt(u32, u32 page, Mfn mfn) {
    map_page(context().gdt, page, mfn);
}
void map_window_ldt(u32, u32 page, Mfn mfn) {
    map_page(context().ldt, page, mfn);
}
void load_descriptor_tables(Vcpu&) {
    ++context().table_loads;
}
Result<u8*> allocate_fpu_area() {
    return frame_pointer(TRY(allocate_frames()));
}
void free_fpu_area(Vcpu& vcpu) {
    if (vcpu.fpu_area)
        free_frames(frame_of_pointer(vcpu.fpu_area));
    vcpu.fpu_area = nullptr;
}
u32 port_in(u16 port, u32 bytes) {
    context().ports.push_back({port, bytes, true, context().port_value});
    return context().port_value;
}
void port_out(u16 port, u32 bytes, u32 value) {
    context().ports.push_back({port, bytes, false, value});
}
CpuidResult machine_cpuid(u32 leaf, u32 subleaf) {
    const auto found = context().cpuid.find({leaf, subleaf});
    if (found == context().cpuid.end())
        return {~0u, ~0u, ~0u, ~0u};
    return context().answers[found->second];
}

} // namespace domus::hv::arch
