// What a decoded store does to memory, registers and flags. See stray_decode.hpp. Pure.
#include "hypervisor/pv/stray_decode.hpp"

#include <bit>

namespace domus::hv {
namespace {

constexpr u64 carry = 1 << 0, parity = 1 << 2, adjust = 1 << 4, zero = 1 << 6, sign = 1 << 7, overflow = 1 << 11;
constexpr u64 arithmetic_flags = carry | parity | adjust | zero | sign | overflow;

u64 mask_of(u32 size) {
    return size == 8 ? ~u64{0} : (u64{1} << (8 * size)) - 1;
}
u64 top_bit(u32 size) {
    return u64{1} << (8 * size - 1);
}

u64& register_at(GuestRegs& regs, u32 number) {
    u64* const places[16] = {&regs.rax, &regs.rcx, &regs.rdx, &regs.rbx, &regs.rsp, &regs.rbp, &regs.rsi, &regs.rdi,
                             &regs.r8,  &regs.r9,  &regs.r10, &regs.r11, &regs.r12, &regs.r13, &regs.r14, &regs.r15};
    return *places[number & 15];
}

u64 read_register(const GuestRegs& regs, u32 number, u32 size, bool high_byte) {
    const u64 whole = register_at(const_cast<GuestRegs&>(regs), number);
    return (high_byte ? whole >> 8 : whole) & mask_of(size);
}

// 32-bit writes clear the upper half; smaller ones leave the rest.
void write_register(GuestRegs& regs, u32 number, u32 size, bool high_byte, u64 value) {
    u64& whole = register_at(regs, number);
    const u32 shift = high_byte ? 8 : 0;
    if (size >= 4)
        whole = value & mask_of(size);
    else
        whole = (whole & ~(mask_of(size) << shift)) | (value & mask_of(size)) << shift;
}

u64 source_of(const Store& store, const GuestRegs& regs) {
    if (store.has_register)
        return read_register(regs, store.source_register, store.size, store.high_byte);
    return store.immediate & mask_of(store.size);
}

u64 bit_of(const Store& store, const GuestRegs& regs) {
    return source_of(store, regs) & (8u * store.size - 1);
}

u64 result_flags(u64 result, u32 size) {
    u64 flags = 0;
    if ((result & mask_of(size)) == 0)
        flags |= zero;
    if ((result & top_bit(size)) != 0)
        flags |= sign;
    if (std::popcount(static_cast<u8>(result)) % 2 == 0)
        flags |= parity;
    return flags;
}

u64 add_flags(u64 a, u64 b, u32 size) {
    const u64 sum = (a + b) & mask_of(size);
    u64 flags = result_flags(sum, size);
    if (sum < (a & mask_of(size)))
        flags |= carry;
    if ((~(a ^ b) & (a ^ sum) & top_bit(size)) != 0)
        flags |= overflow;
    return flags | ((a ^ b ^ sum) & adjust);
}

u64 sub_flags(u64 a, u64 b, u32 size) {
    const u64 difference = (a - b) & mask_of(size);
    u64 flags = result_flags(difference, size);
    if ((a & mask_of(size)) < (b & mask_of(size)))
        flags |= carry;
    if (((a ^ b) & (a ^ difference) & top_bit(size)) != 0)
        flags |= overflow;
    return flags | ((a ^ b ^ difference) & adjust);
}

// Which flags the store sets, and to what.
struct FlagChange {
    u64 touched = 0, value = 0;
};

FlagChange flags_of(const Store& store, const GuestRegs& regs, u64 old, u64 result) {
    const u64 source = source_of(store, regs);
    switch (store.kind) {
    case StoreKind::Move:
    case StoreKind::Exchange:
    case StoreKind::Not:
    case StoreKind::Fill:
    case StoreKind::Copy:
        return {};
    case StoreKind::And:
    case StoreKind::Or:
    case StoreKind::Xor:
        return {arithmetic_flags, result_flags(result, store.size)};
    case StoreKind::Add:
    case StoreKind::ExchangeAdd:
        return {arithmetic_flags, add_flags(old, source, store.size)};
    case StoreKind::Sub:
        return {arithmetic_flags, sub_flags(old, source, store.size)};
    case StoreKind::CompareExchange:
        return {arithmetic_flags, sub_flags(read_register(regs, 0, store.size, false), old, store.size)};
    case StoreKind::Neg:
        return {arithmetic_flags, sub_flags(0, old, store.size)};
    case StoreKind::Inc:
        return {arithmetic_flags & ~carry, add_flags(old, 1, store.size) & ~carry};
    case StoreKind::Dec:
        return {arithmetic_flags & ~carry, sub_flags(old, 1, store.size) & ~carry};
    case StoreKind::BitSet:
    case StoreKind::BitReset:
    case StoreKind::BitFlip:
        return {carry, old >> bit_of(store, regs) & 1};
    }
    return {};
}

// Pointers and count behind one element of a string.
void commit_element(const Store& store, GuestRegs& regs, const StoreEffect& effect) {
    constexpr u64 direction = 1 << 10;
    if (effect.writes) {
        const u64 step = (regs.rflags & direction) != 0 ? 0 - u64{store.size} : store.size;
        regs.rdi += step;
        if (store.kind == StoreKind::Copy)
            regs.rsi += step;
        if (store.repeat)
            --regs.rcx;
    }
    if (!store.repeat || regs.rcx == 0)
        regs.rip += store.length;
}

} // namespace

StoreEffect evaluate_store(const Store& store, const GuestRegs& regs, u64 old) {
    const u64 mask = mask_of(store.size);
    const u64 source = source_of(store, regs);
    old &= mask;
    switch (store.kind) {
    case StoreKind::Move:
    case StoreKind::Exchange:
        return {source, true};
    case StoreKind::Fill:
    case StoreKind::Copy:
        return {source, !store.repeat || regs.rcx != 0};
    case StoreKind::CompareExchange:
        return {source, read_register(regs, 0, store.size, false) == old};
    case StoreKind::Add:
    case StoreKind::ExchangeAdd:
        return {(old + source) & mask, true};
    case StoreKind::Sub:
        return {(old - source) & mask, true};
    case StoreKind::And:
        return {old & source, true};
    case StoreKind::Or:
        return {old | source, true};
    case StoreKind::Xor:
        return {old ^ source, true};
    case StoreKind::Not:
        return {~old & mask, true};
    case StoreKind::Neg:
        return {(0 - old) & mask, true};
    case StoreKind::Inc:
        return {(old + 1) & mask, true};
    case StoreKind::Dec:
        return {(old - 1) & mask, true};
    case StoreKind::BitSet:
        return {old | u64{1} << bit_of(store, regs), true};
    case StoreKind::BitReset:
        return {old & ~(u64{1} << bit_of(store, regs)), true};
    case StoreKind::BitFlip:
        return {old ^ u64{1} << bit_of(store, regs), true};
    }
    return {old, false};
}

void commit_store(const Store& store, GuestRegs& regs, u64 old, const StoreEffect& effect) {
    if (store.is_string())
        return commit_element(store, regs, effect);
    old &= mask_of(store.size);
    const FlagChange flags = flags_of(store, regs, old, effect.value);
    if (store.kind == StoreKind::Exchange || store.kind == StoreKind::ExchangeAdd)
        write_register(regs, store.source_register, store.size, store.high_byte, old);
    if (store.kind == StoreKind::CompareExchange && !effect.writes)
        write_register(regs, 0, store.size, false, old);
    regs.rflags = (regs.rflags & ~flags.touched) | flags.value;
    regs.rip += store.length;
}

} // namespace domus::hv
