// The 16550 serial line. Owner: core/console_ring calls console_write with Rank::Console held; input is polled on the
// exit path after its interrupt noted itself.
#include "hypervisor/arch/x86_64/serial.hpp"

#include "hypervisor/arch/iface/console.hpp"
#include "hypervisor/arch/x86_64/cpu.hpp"

namespace domus::hv::arch {
namespace {

constinit u16 base = 0x3f8;
constinit bool present = false;

enum Register : u16 { data = 0, interrupt_enable = 1, fifo = 2, line = 3, modem = 4, status = 5 };
constexpr u8 status_input = 1, status_output_empty = 0x20;
constexpr u32 fifo_depth = 16;

u32 room = 0; // bytes the transmit FIFO surely takes

void put(char c) {
    // A machine without the line answers all ones, which also says "empty": no endless wait.
    if (room == 0) {
        while (!(in8(base + status) & status_output_empty))
            pause();
        room = fifo_depth;
    }
    out8(base + data, static_cast<u8>(c));
    --room;
}

} // namespace

void serial_start(u16 port, u32 baud) {
    base = port;
    const u16 divisor = static_cast<u16>(115200 / (baud ? baud : 115200));
    out8(base + interrupt_enable, 0);
    out8(base + line, 0x80);
    out8(base + data, static_cast<u8>(divisor));
    out8(base + interrupt_enable, static_cast<u8>(divisor >> 8));
    out8(base + line, 3); // 8 bits, no parity, one stop bit
    out8(base + fifo, 7);
    out8(base + modem, 0xb); // DTR, RTS, interrupt line on
    present = true;
}

void serial_enable_input() {
    if (present)
        out8(base + interrupt_enable, 1);
}

bool serial_read(char& c) {
    const u8 now = in8(base + status);
    if (!present || now == 0xff || !(now & status_input))
        return false;
    c = static_cast<char>(in8(base + data));
    return true;
}

void console_write(std::string_view bytes) {
    if (!present)
        return;
    for (char c : bytes) {
        if (c == '\n')
            put('\r');
        put(c);
    }
}

} // namespace domus::hv::arch
