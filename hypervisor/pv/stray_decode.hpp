// A small decoder for stores: the x86-64 instructions with which a kernel writes to a page-table entry when it thinks
// that it is plain memory (mov, xchg, cmpxchg, xadd, and, or, xor, add, sub, inc, dec, not, neg, bts, btr, btc, with or
// without lock; stos and movs, one element at a time). Pure: bytes and registers in, an operation out; no memory is
// touched. Source: the processor manuals' instruction format. The operand's address is not computed: the page fault
// reports it.
#pragma once

#include "hypervisor/core/vcpu.hpp"

#include <optional>
#include <span>

namespace domus::hv {

enum class StoreKind : u8 {
    Move,
    Exchange,
    CompareExchange,
    ExchangeAdd,
    And,
    Or,
    Xor,
    Add,
    Sub,
    Not,
    Neg,
    Inc,
    Dec,
    Fill, // stos
    Copy, // movs: whoever executes it puts the element at rsi into `immediate`
    BitSet,
    BitReset,
    BitFlip,
};

struct Store {
    StoreKind kind;
    u8 size;                // bytes of the memory operand: 1, 2, 4, 8
    u8 length;              // of the instruction
    u8 source_register = 0; // number (0 rax .. 15 r15), where the kind reads or writes one
    bool has_register = false;
    bool repeat = false;    // Fill and Copy: rep; rcx counts elements, and rip stays until none is left
    bool high_byte = false; // ah, ch, dh, bh: `source_register` is then the number of the whole register
    u64 immediate = 0;      // where there is no register: the value, or the bit number

    bool is_string() const { return kind == StoreKind::Fill || kind == StoreKind::Copy; }
};

// Nothing: not a store this decoder knows, or cut off. `bytes`: up to 15 from the instruction pointer.
std::optional<Store> decode_store(std::span<const u8> bytes);

struct StoreEffect {
    u64 value;   // what the memory operand becomes (its low `size` bytes)
    bool writes; // false: a failed compare-and-exchange, a string of no elements
};

// What the store makes of `old`. Registers and flags change in `regs` only by commit_store, once the write has
// happened.
StoreEffect evaluate_store(const Store&, const GuestRegs& regs, u64 old);
// Registers, arithmetic flags and instruction pointer after it.
void commit_store(const Store&, GuestRegs& regs, u64 old, const StoreEffect&);

} // namespace domus::hv
