// ACPI: RSDP, MADT (I/O APIC, interrupt overrides), FADT (PM1 control), the S5 package of the DSDT.
// Tables are firmware's, not a guest's, but lengths are checked all the same. Owner: boot.
#include "hypervisor/arch/x86_64/acpi.hpp"

#include "hypervisor/arch/x86_64/layout.hpp"

#include <string_view>

namespace domus::hv::arch {
namespace {

constinit AcpiFacts facts{};

constexpr u64 reachable = u64{4} << 30; // the boot direct map

const u8* at(u64 address) {
    return reinterpret_cast<const u8*>(direct_map + address);
}
template <class T>
T load(const u8* p) {
    T v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}
bool has_signature(const u8* p, std::string_view text) {
    return __builtin_memcmp(p, text.data(), text.size()) == 0;
}

u64 find_rsdp() {
    const u64 ebda = u64{load<u16>(at(0x40e))} << 4;
    for (u64 a = ebda; ebda >= 0x80000 && a < ebda + 0x400; a += 16) {
        if (has_signature(at(a), "RSD PTR "))
            return a;
    }
    for (u64 a = 0xe0000; a < 0x100000; a += 16) {
        if (has_signature(at(a), "RSD PTR "))
            return a;
    }
    return 0;
}

void read_madt(const u8* table, u32 length) {
    u32 offset = 44;
    while (offset + 2 <= length) {
        const u8 type = table[offset], size = table[offset + 1];
        if (size < 2 || offset + size > length)
            return;
        const u8* e = table + offset;
        if (type == 0 && size >= 8 && (load<u32>(e + 4) & 1))
            ++facts.cpu_count;
        if (type == 1 && size >= 12 && load<u32>(e + 8) == 0)
            facts.io_apic_address = load<u32>(e + 4);
        if (type == 2 && size >= 10 && e[3] < 16)
            facts.irq_to_gsi[e[3]] = load<u32>(e + 4);
        offset += size;
    }
}

// Name (_S5_, Package { a, b, ... }) in AML: 08 "_S5_" 12 length count a b
void read_soft_off(const u8* dsdt, u32 length) {
    for (u32 i = 36; i + 16 < length; ++i) {
        if (!has_signature(dsdt + i, "_S5_") || dsdt[i + 4] != 0x12)
            continue;
        const u8* p = dsdt + i + 5;
        p += (p[0] >> 6) + 2; // package length bytes, element count
        u32 values[2] = {0, 0};
        for (u32& v : values) {
            if (*p == 0x0a)
                v = p[1], p += 2;
            else
                v = *p == 1 ? 1 : 0, p += 1;
        }
        facts.soft_off_a = values[0];
        facts.soft_off_b = values[1];
        return;
    }
}

void read_fadt(const u8* table, u32 length) {
    if (length < 72)
        return;
    facts.pm1a_control = static_cast<u16>(load<u32>(table + 64));
    facts.pm1b_control = static_cast<u16>(load<u32>(table + 68));
    const u64 dsdt = load<u32>(table + 40);
    if (dsdt != 0 && dsdt < reachable)
        read_soft_off(at(dsdt), load<u32>(at(dsdt) + 4));
}

} // namespace

void read_acpi(u64 rsdp_hint) {
    facts.rsdp = rsdp_hint ? rsdp_hint : find_rsdp();
    if (!facts.rsdp)
        return;
    const u64 rsdt = load<u32>(at(facts.rsdp) + 16);
    if (rsdt == 0 || rsdt >= reachable)
        return;
    const u32 length = load<u32>(at(rsdt) + 4);
    for (u32 offset = 36; offset + 4 <= length && length < 0x10000; offset += 4) {
        const u64 address = load<u32>(at(rsdt) + offset);
        if (address == 0 || address >= reachable)
            continue;
        const u8* table = at(address);
        const u32 table_length = load<u32>(table + 4);
        if (has_signature(table, "APIC"))
            read_madt(table, table_length);
        if (has_signature(table, "FACP"))
            read_fadt(table, table_length);
    }
}

const AcpiFacts& acpi() {
    return facts;
}

} // namespace domus::hv::arch
