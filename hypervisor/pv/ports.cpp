// I/O ports. The guest's own rule (IOPL, bitmap) decides between access and #GP; the hypervisor's rule decides what an
// allowed access reaches: unprivileged domains see an empty bus, dom0 everything but the hypervisor's own devices.
// Owner: the vcpu on this CPU.
#include "hypervisor/pv/ports.hpp"
#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/guest_memory.hpp"
#include "hypervisor/pv/emulate.hpp"

namespace domus::hv {
namespace {

struct PortRange {
    u16 first, last;
};
// Interrupt controllers, timer, and the serial line the hypervisor prints on.
constinit PortRange own_ports[] = {{0x3f8, 0x3ff}, {0x20, 0x21}, {0xa0, 0xa1}, {0x40, 0x43}};
PortRange& console = own_ports[0];

// The count of the timer's channel 2, which nobody but the hypervisor has. All ones, as on an empty bus, look to Linux'
// quick_pit_calibrate() like a count that stands at its start: it would ask 100 000 times before it gives up.
constexpr u16 timer_count = 0x42;

bool is_own(u16 port, u32 bytes) {
    for (const auto& range : own_ports) {
        if (port <= range.last && port + bytes > range.first)
            return true;
    }
    return false;
}

bool reaches_machine(const Vcpu& v, u16 port, u32 bytes) {
    return v.domain.privileged && !is_own(port, bytes);
}

} // namespace

void set_console_ports(u16 first) {
    console = {first, static_cast<u16>(first + 7)};
}

bool may_use_ports(Vcpu& v, u16 port, u32 bytes) {
    const u8 needed = v.pv.in_kernel ? 1 : 3;
    if (v.pv.iopl >= needed)
        return true;
    if (u32{port} + bytes > v.pv.io_ports || v.pv.in_kernel)
        return false;
    u8 map[2] = {0xff, 0xff};
    if (!copy_in_bytes(map, v.pv.io_bitmap + port / 8, 2))
        return false;
    const u32 mask = ((1u << bytes) - 1) << (port % 8);
    return ((map[0] | map[1] << 8) & mask) == 0;
}

u32 guest_port_in(Vcpu& v, u16 port, u32 bytes) {
    if (reaches_machine(v, port, bytes))
        return arch::port_in(port, bytes);
    if (port == timer_count)
        return 0;
    return ~0u >> (32 - 8 * bytes);
}

void guest_port_out(Vcpu& v, u16 port, u32 bytes, u32 value) {
    if (reaches_machine(v, port, bytes))
        arch::port_out(port, bytes, value);
}

} // namespace domus::hv
