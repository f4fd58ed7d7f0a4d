// A small decoder for stores. See stray_decode.hpp.
#include "hypervisor/pv/stray_decode.hpp"

namespace domus::hv {
namespace {

class Reader {
public:
    explicit Reader(std::span<const u8> bytes) : bytes_(bytes) {}
    u8 next() { return at_ < bytes_.size() ? bytes_[at_++] : (cut_off_ = true, u8{0}); }
    u8 peek() const { return at_ < bytes_.size() ? bytes_[at_] : u8{0}; }
    u64 signed_value(u32 size) { // 1, 2 or 4 bytes, sign-extended
        u64 value = 0;
        for (u32 i = 0; i < size; ++i)
            value |= u64{next()} << (8 * i);
        const u32 shift = 64 - 8 * size;
        return static_cast<u64>(static_cast<i64>(value << shift) >> shift);
    }
    void skip(u32 count) {
        while (count-- > 0)
            next();
    }
    u8 position() const { return static_cast<u8>(at_); }
    bool cut_off() const { return cut_off_; }

private:
    std::span<const u8> bytes_;
    usize at_ = 0;
    bool cut_off_ = false;
};

struct Prefixes {
    bool operand_16 = false;
    bool lock = false;
    bool repeat = false;     // or an elision hint
    bool other_base = false; // fs or gs
    bool address_32 = false;
    u8 rex = 0;
    bool wide() const { return (rex & 8) != 0; }
    u8 size() const { return wide() ? 8 : operand_16 ? 2 : 4; }
};

Prefixes read_prefixes(Reader& in) {
    Prefixes prefixes;
    for (;;) {
        const u8 byte = in.peek();
        const bool segment =
            byte == 0x26 || byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x64 || byte == 0x65;
        if (byte == 0x66)
            prefixes.operand_16 = true;
        else if (byte == 0xf0)
            prefixes.lock = true;
        else if (byte == 0xf2 || byte == 0xf3)
            prefixes.repeat = true;
        else if (byte == 0x67)
            prefixes.address_32 = true;
        else if (segment)
            prefixes.other_base = prefixes.other_base || byte >= 0x64;
        else
            break;
        in.next();
        if (in.cut_off())
            return prefixes;
    }
    if ((in.peek() & 0xf0) == 0x40)
        prefixes.rex = in.next();
    return prefixes;
}

// The ModRM byte with SIB and displacement skipped. Nothing: a register operand, so no store to memory.
std::optional<u8> read_modrm(Reader& in, const Prefixes& prefixes, u8& extension) {
    const u8 modrm = in.next();
    const u8 mode = modrm >> 6;
    if (mode == 3)
        return std::nullopt;
    u8 base = modrm & 7;
    if (base == 4)
        base = in.next() & 7;
    const bool no_base = base == 5 && mode == 0; // rip-relative, or index without base
    in.skip(mode == 1 ? 1 : mode == 2 || no_base ? 4 : 0);
    extension = modrm >> 3 & 7;
    return static_cast<u8>(extension | (prefixes.rex & 4) << 1);
}

struct Form {
    StoreKind kind;
    enum : u8 { Register, Immediate, ImmediateByte, None } source;
    bool byte; // operates on a byte
};

// Opcodes 00..3b in steps of 8; nothing for adc, sbb (they need a carry in, and no kernel uses them here) and cmp.
std::optional<StoreKind> arithmetic(u8 number) {
    switch (number) {
    case 0:
        return StoreKind::Add;
    case 1:
        return StoreKind::Or;
    case 4:
        return StoreKind::And;
    case 5:
        return StoreKind::Sub;
    case 6:
        return StoreKind::Xor;
    default:
        return std::nullopt;
    }
}

std::optional<Form> one_byte_form(u8 opcode, u8 extension) {
    const bool byte = (opcode & 1) == 0;
    if (opcode < 0x40 && (opcode & 7) <= 1) {
        if (const auto kind = arithmetic(opcode >> 3))
            return Form{*kind, Form::Register, byte};
        return std::nullopt;
    }
    switch (opcode) {
    case 0x80:
    case 0x81:
    case 0x83:
        if (const auto kind = arithmetic(extension))
            return Form{*kind, opcode == 0x81 ? Form::Immediate : Form::ImmediateByte, byte};
        return std::nullopt;
    case 0x86:
    case 0x87:
        return Form{StoreKind::Exchange, Form::Register, byte};
    case 0x88:
    case 0x89:
        return Form{StoreKind::Move, Form::Register, byte};
    case 0xc6:
    case 0xc7:
        if (extension != 0)
            return std::nullopt;
        return Form{StoreKind::Move, byte ? Form::ImmediateByte : Form::Immediate, byte};
    case 0xf6:
    case 0xf7:
        if (extension != 2 && extension != 3)
            return std::nullopt;
        return Form{extension == 2 ? StoreKind::Not : StoreKind::Neg, Form::None, byte};
    case 0xfe:
    case 0xff:
        if (extension > 1)
            return std::nullopt;
        return Form{extension == 0 ? StoreKind::Inc : StoreKind::Dec, Form::None, byte};
    default:
        return std::nullopt;
    }
}

std::optional<Form> two_byte_form(u8 opcode, u8 extension) {
    const bool byte = (opcode & 1) == 0;
    switch (opcode) {
    case 0xb0:
    case 0xb1:
        return Form{StoreKind::CompareExchange, Form::Register, byte};
    case 0xc0:
    case 0xc1:
        return Form{StoreKind::ExchangeAdd, Form::Register, byte};
    case 0xc3:
        return Form{StoreKind::Move, Form::Register, false}; // movnti
    case 0xab:
        return Form{StoreKind::BitSet, Form::Register, false};
    case 0xb3:
        return Form{StoreKind::BitReset, Form::Register, false};
    case 0xbb:
        return Form{StoreKind::BitFlip, Form::Register, false};
    case 0xba:
        if (extension < 5)
            return std::nullopt;
        return Form{extension == 5   ? StoreKind::BitSet
                    : extension == 6 ? StoreKind::BitReset
                                     : StoreKind::BitFlip,
                    Form::ImmediateByte, false};
    default:
        return std::nullopt;
    }
}

void set_register(Store& store, u8 number, const Prefixes& prefixes) {
    store.has_register = true;
    // Without REX, byte registers 4 to 7 are the second bytes of the first four.
    store.high_byte = store.size == 1 && prefixes.rex == 0 && number >= 4;
    store.source_register = store.high_byte ? number - 4 : number;
}

constexpr bool is_string_store(u8 opcode) {
    return opcode == 0xa4 || opcode == 0xa5 || opcode == 0xaa || opcode == 0xab;
}

std::optional<Store> string_store(const Prefixes& prefixes, u8 opcode, u8 length) {
    if (prefixes.lock || prefixes.address_32 || prefixes.other_base)
        return std::nullopt;
    const u8 size = (opcode & 1) == 0 ? u8{1} : prefixes.size();
    Store store{opcode >= 0xaa ? StoreKind::Fill : StoreKind::Copy, size, length};
    store.has_register = store.kind == StoreKind::Fill; // rax
    store.repeat = prefixes.repeat;
    return store;
}

} // namespace

std::optional<Store> decode_store(std::span<const u8> bytes) {
    Reader in(bytes);
    const Prefixes prefixes = read_prefixes(in);
    u8 opcode = in.next();
    const bool two_bytes = opcode == 0x0f;
    if (two_bytes)
        opcode = in.next();
    else if (is_string_store(opcode))
        return in.position() <= 15 ? string_store(prefixes, opcode, in.position()) : std::nullopt;
    // The same mask for both maps: which opcodes have a form at all is decided below, with the extension.
    u8 extension = 0;
    const auto number = read_modrm(in, prefixes, extension);
    if (!number)
        return std::nullopt;
    const auto form = two_bytes ? two_byte_form(opcode, extension) : one_byte_form(opcode, extension);
    if (!form || (prefixes.lock && form->kind == StoreKind::Move))
        return std::nullopt;
    Store store{form->kind, form->byte ? u8{1} : prefixes.size(), 0};
    if (form->source == Form::Register)
        set_register(store, *number, prefixes);
    else if (form->source == Form::ImmediateByte)
        store.immediate = in.signed_value(1);
    else if (form->source == Form::Immediate)
        store.immediate = in.signed_value(store.size == 2 ? 2 : 4);
    store.length = in.position();
    if (in.cut_off() || store.length > 15)
        return std::nullopt;
    return store;
}

} // namespace domus::hv
