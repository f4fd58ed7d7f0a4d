// Privileged instructions that a PV kernel may use. Owner: the vcpu on this CPU. The instruction is copied once and
// judged from the copy. What is not in the table stays a #GP for the guest.
#include "hypervisor/pv/emulate.hpp"

#include "hypervisor/arch/iface/context.hpp"
#include "hypervisor/core/domain.hpp"
#include "hypervisor/core/guest_memory.hpp"
#include "hypervisor/core/log.hpp"
#include "hypervisor/pv/bounce.hpp"
#include "hypervisor/pv/root.hpp"

#include <algorithm>

namespace domus::hv {
namespace {

constexpr u64 cr0_ts = 8;

// Again: the guest runs the same instruction once more, after the exit path did what waited.
enum class Outcome : u8 { Refused, Done, Again };

constexpr Outcome done_if(bool done) {
    return done ? Outcome::Done : Outcome::Refused;
}
Outcome outcome_of(const Result<void>& result) {
    return !result && result.error() == Err::Restart ? Outcome::Again : done_if(result.ok());
}

// One instruction: prefixes, opcode, modrm; registers only (the memory forms that matter are named in the table).
struct Instruction {
    u8 bytes[15];
    u32 available = 0, at = 0;
    u8 rex = 0;
    bool wide_prefix = false, repeat = false;
    u16 opcode = 0; // 0x0f00 | second byte for two-byte opcodes

    bool next(u8& b) {
        if (at >= available)
            return false;
        b = bytes[at++];
        return true;
    }
};

bool fetch(Instruction& i, u64 rip) {
    // What is on this page; instructions that cross into the next one are rare, and that page may be absent.
    const u64 on_page = std::min<u64>(sizeof i.bytes, page_size - rip % page_size);
    if (!copy_in_bytes(i.bytes, rip, on_page))
        return false;
    i.available = static_cast<u32>(on_page);
    if (on_page < sizeof i.bytes && copy_in_bytes(i.bytes + on_page, rip + on_page, sizeof i.bytes - on_page))
        i.available = sizeof i.bytes;
    u8 b = 0;
    for (;;) {
        if (!i.next(b))
            return false;
        if (b == 0x66)
            i.wide_prefix = true;
        else if (b == 0xf3 || b == 0xf2)
            i.repeat = true;
        else if (b != 0x2e && b != 0x36 && b != 0x3e && b != 0x26 && b != 0x64 && b != 0x65)
            break;
    }
    if ((b & 0xf0) == 0x40) {
        i.rex = b;
        if (!i.next(b))
            return false;
    }
    i.opcode = b;
    if (b == 0x0f) {
        if (!i.next(b))
            return false;
        i.opcode = static_cast<u16>(0x0f00 | b);
    }
    return true;
}

u64& general(GuestRegs& r, u32 number) {
    u64* const table[16] = {&r.rax, &r.rcx, &r.rdx, &r.rbx, &r.rsp, &r.rbp, &r.rsi, &r.rdi,
                            &r.r8,  &r.r9,  &r.r10, &r.r11, &r.r12, &r.r13, &r.r14, &r.r15};
    return *table[number & 15];
}

bool move_from_control(Vcpu& v, u32 cr, u64& value) {
    switch (cr) {
    case 0:
        value = (v.pv.cr0 & ~cr0_ts) | (v.pv.task_switched ? cr0_ts : 0);
        return true;
    case 2:
        value = v.pv.cr2;
        return true;
    case 3:
        value = v.pv.kernel_root;
        return true; // machine addresses below 4 GiB frames: the plain form is right
    case 4:
        value = v.pv.cr4;
        return true;
    default:
        return false;
    }
}

Outcome move_to_control(Vcpu& v, u32 cr, u64 value) {
    switch (cr) {
    case 0:
        if ((value ^ v.pv.cr0) & ~cr0_ts)
            why(v.domain, "write of {x} to CR0: only TS can change", value);
        arch::set_task_switched(value & cr0_ts);
        return Outcome::Done;
    case 2:
        v.pv.cr2 = value;
        v.info->arch.cr2 = value;
        return Outcome::Done;
    case 3: // the root may be validated in several pieces
        return outcome_of(set_kernel_root(v, frame_of(Maddr(value))));
    case 4:
        v.pv.cr4 = value & guest_cr4_mask; // the rest belongs to the hypervisor
        return Outcome::Done;
    default:
        return Outcome::Refused;
    }
}

Outcome control_register(Vcpu& v, GuestRegs& r, Instruction& i, bool write) {
    u8 modrm = 0;
    if (!i.next(modrm) || (modrm & 0xc0) != 0xc0)
        return Outcome::Refused;
    const u32 cr = (modrm >> 3 & 7) | (i.rex & 4) << 1;
    u64& reg = general(r, (modrm & 7) | (i.rex & 1) << 3);
    return write ? move_to_control(v, cr, reg) : done_if(move_from_control(v, cr, reg));
}

bool read_msr(Vcpu& v, GuestRegs& r) {
    const auto value = guest_read_msr(v, static_cast<u32>(r.rcx));
    if (!value)
        return false;
    r.rax = static_cast<u32>(value.value());
    r.rdx = value.value() >> 32;
    return true;
}

// The processor manual's rules for XCR0: x87 always, AVX only with SSE, nothing that is not offered.
bool write_extended_control(u32 number, u64 value) {
    constexpr u64 x87 = 1, sse = 2, avx = 4;
    const u64 allowed = arch::xcr0_allowed();
    if (number != 0 || (value & ~allowed) != 0 || (value & x87) == 0 || ((value & avx) != 0 && (value & sse) == 0))
        return false;
    arch::set_xcr0(value);
    return true;
}

bool group_0f01(GuestRegs& r, Instruction& i) {
    u8 modrm = 0;
    constexpr u8 xsetbv = 0xd1;
    return i.next(modrm) && modrm == xsetbv &&
           write_extended_control(static_cast<u32>(r.rcx), (r.rdx << 32) | static_cast<u32>(r.rax));
}

Outcome privileged(Vcpu& v, GuestRegs& r, Instruction& i) {
    switch (i.opcode) {
    case 0x0f20:
        return control_register(v, r, i, false);
    case 0x0f22:
        return control_register(v, r, i, true);
    case 0x0f06: // clts
        arch::set_task_switched(false);
        return Outcome::Done;
    case 0x0f08: // invd, wbinvd: guests have no uncached RAM of their own
    case 0x0f09:
        return Outcome::Done;
    case 0x0f30:
        return done_if(guest_write_msr(v, static_cast<u32>(r.rcx), (r.rdx << 32) | static_cast<u32>(r.rax)).ok());
    case 0x0f32:
        return done_if(read_msr(v, r));
    case 0x0f01:
        return done_if(group_0f01(r, i));
    case 0xfa: // cli, sti: a PV kernel masks events in vcpu_info; the flag itself stays on
    case 0xfb:
        return done_if(v.pv.iopl >= 1);
    default:
        return Outcome::Refused;
    }
}

struct PortAccess {
    u16 port;
    u32 bytes;
    bool in, string;
};

bool decode_port(GuestRegs& r, Instruction& i, PortAccess& a) {
    const u32 wide = i.wide_prefix ? 2 : 4;
    u8 immediate = 0;
    switch (i.opcode) {
    case 0xe4:
    case 0xe5:
    case 0xe6:
    case 0xe7:
        if (!i.next(immediate))
            return false;
        a = {immediate, i.opcode & 1 ? wide : 1, i.opcode < 0xe6, false};
        return true;
    case 0xec:
    case 0xed:
    case 0xee:
    case 0xef:
        a = {static_cast<u16>(r.rdx), i.opcode & 1 ? wide : 1, i.opcode < 0xee, false};
        return true;
    case 0x6c:
    case 0x6d:
    case 0x6e:
    case 0x6f:
        a = {static_cast<u16>(r.rdx), i.opcode & 1 ? wide : 1, i.opcode < 0x6e, true};
        return true;
    default:
        return false;
    }
}

// One element; a repeated instruction comes back for the next one, so that nothing runs long here.
bool port_string(Vcpu& v, GuestRegs& r, const Instruction& i, const PortAccess& a) {
    if (i.repeat && r.rcx == 0)
        return true;
    u32 value = 0;
    if (a.in) {
        value = guest_port_in(v, a.port, a.bytes);
        if (!copy_out_bytes(r.rdi, &value, a.bytes))
            return false;
    } else {
        if (!copy_in_bytes(&value, r.rsi, a.bytes))
            return false;
        guest_port_out(v, a.port, a.bytes, value);
    }
    const u64 step = r.rflags & 1 << 10 ? 0 - u64{a.bytes} : a.bytes;
    (a.in ? r.rdi : r.rsi) += step;
    if (i.repeat && --r.rcx != 0)
        r.rip -= i.at;
    return true;
}

bool port_access(Vcpu& v, GuestRegs& r, Instruction& i) {
    PortAccess a{};
    if (!decode_port(r, i, a) || !may_use_ports(v, a.port, a.bytes))
        return false;
    if (a.string)
        return port_string(v, r, i, a);
    if (!a.in) {
        guest_port_out(v, a.port, a.bytes, static_cast<u32>(r.rax));
        return true;
    }
    const u32 value = guest_port_in(v, a.port, a.bytes);
    const u64 kept = a.bytes == 1 ? ~u64{0xff} : a.bytes == 2 ? ~u64{0xffff} : 0;
    r.rax = (r.rax & kept) | (value & ~kept);
    return true;
}

} // namespace

bool emulate_privileged(Vcpu& v, GuestRegs& r) {
    Instruction i;
    if (!fetch(i, r.rip))
        return false;
    Outcome outcome = v.pv.in_kernel ? privileged(v, r, i) : Outcome::Refused;
    if (outcome == Outcome::Refused)
        outcome = done_if(port_access(v, r, i));
    if (outcome != Outcome::Done)
        return outcome == Outcome::Again;
    ++v.domain.perf.counts[static_cast<usize>(Count::Emulated)];
    r.rip += i.at;
    return true;
}

bool emulate_forced_cpuid(Vcpu& v, GuestRegs& r) {
    constexpr u8 wanted[7] = {0x0f, 0x0b, 'x', 'e', 'n', 0x0f, 0xa2};
    u8 code[7];
    if (!copy_in_bytes(code, r.rip, sizeof code) || __builtin_memcmp(code, wanted, sizeof code) != 0)
        return false;
    const CpuidAnswer a = guest_cpuid(v, static_cast<u32>(r.rax), static_cast<u32>(r.rcx));
    r.rax = a.eax, r.rbx = a.ebx, r.rcx = a.ecx, r.rdx = a.edx;
    r.rip += sizeof code;
    ++v.domain.perf.counts[static_cast<usize>(Count::Emulated)];
    return true;
}

} // namespace domus::hv
