// What a guest does without asking: stores, stray or not, faults, switches, and what the CPU writes for it.
// See world.hpp.
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/stray_writes.hpp"
#include "tests/guard/world.hpp"

#include <optional>

namespace domus::guard {
namespace {

constexpr u32 fault_present = 1, fault_write = 2, fault_user = 4;
constexpr u64 code_offset = 0xf000;

struct Translation {
    u64 frame;
    bool writable; // in ring 3
};

std::optional<Translation> translate(fake::Machine& m, u64 root, u64 address) {
    u64 table = root >> page_shift;
    bool writable = true;
    for (u8 level = 4; level >= 1; --level) {
        if (table == 0 || table >= fake::ram_frames)
            return std::nullopt;
        const u64 value = m.table(Mfn(table))[entry_index(Vaddr(address), static_cast<FrameType>(level))];
        if (!entry::is_present(value))
            return std::nullopt;
        writable = writable && entry::is_writable(value) && (value & entry::user) != 0;
        table = entry::frame(value).n;
        if (level == 2 && (value & entry::large) != 0)
            return Translation{table + entry_index(Vaddr(address), FrameType::L1), writable};
    }
    return Translation{table, writable};
}

} // namespace

// A store by the instruction at the vcpu's code place, through the tables in force; faults go to the hypervisor.
bool World::store(Choices& c, u64 address, u64 value) {
    static constexpr u8 stores[][5] = {{0x48, 0x89, 0x37},             // mov %rsi,(%rdi)
                                       {0x48, 0x87, 0x37},             // xchg %rsi,(%rdi)
                                       {0xf0, 0x48, 0x21, 0x37},       // lock and %rsi,(%rdi)
                                       {0xf0, 0x48, 0x0f, 0xb1, 0x37}, // lock cmpxchg %rsi,(%rdi)
                                       {0xf0, 0x80, 0x27, 0xfd},       // lock andb $0xfd,(%rdi)
                                       {0x48, 0xab}};                  // stos %rax,(%rdi)
    const auto& code = stores[c.one_in(2) ? 0 : c.pick(std::size(stores))];
    std::memcpy(m_.window(area() + code_offset, 16), code, sizeof code);
    Vcpu& v = vcpu();
    v.pv.in_kernel = true;
    for (int tries = 0; tries < 3; ++tries) {
        const auto there = translate(m_, v.pv.kernel_root, address);
        if (there && there->writable) {
            if (there->frame >= fake::first_free_frame && there->frame < fake::ram_frames)
                std::memcpy(m_.frame(Mfn(there->frame)) + (address & page_mask), &value, sizeof value);
            return true;
        }
        v.regs.rip = area() + code_offset;
        v.regs.rsi = v.regs.rax = value;
        v.regs.rdi = address;
        const u32 error = fault_write | fault_user | (there ? fault_present : 0);
        if (!fix_page_fault(v, v.regs, address, error))
            return false;
        if (v.regs.rip != area() + code_offset)
            return true; // done for it
    }
    return true;
}

void World::guest_store(Choices& c) {
    const auto frames = model_.writable_by(m_.this_cpu());
    if (frames.empty())
        return;
    const Mfn mfn(frames[c.pick(frames.size())]);
    m_.table(mfn)[any_index(c)] = any_entry(c, static_cast<u8>(1 + c.pick(4)));
}

void World::stray_write(Choices& c) {
    const Mfn table = own_table(c, static_cast<u8>(c.one_in(4) ? 1 + c.pick(4) : 1));
    const u64 base = physmap(table);
    const u32 index = any_index(c);
    const u64 address =
        (base != 0 && !c.one_in(8) ? base : any_address(c).n) + index * u64{8} + (c.one_in(16) ? c.pick(8) : 0);
    u64 value = any_entry(c, static_cast<u8>(TypeWord{m_.infos[table.n].type.load()}.type()));
    if (c.one_in(2)) // what fork does: the same without the right to write
        value = m_.table(table)[index] & ~entry::writable;
    if (arch::is_guest_range(Vaddr(address), 8) && (address & page_mask) <= page_size - 8)
        store(c, address, value);
}

// A fault without a store, or one that is none any more.
void World::touch(Choices& c) {
    Vcpu& v = vcpu();
    const u64 address = any_address(c).n;
    v.pv.in_kernel = !c.one_in(3);
    m_.load_root(v.pv.in_kernel ? v.pv.kernel_root : v.pv.user_root);
    v.regs.rip = area() + code_offset;
    const auto there = translate(m_, m_.loaded_root(), address);
    constexpr u32 errors[] = {fault_user, fault_user | fault_write, fault_user | 16};
    fix_page_fault(v, v.regs, address, c.of(errors, std::size(errors)) | (there ? fault_present : 0));
    v.pv.in_kernel = true;
    m_.load_root(v.pv.kernel_root);
}

// To another CPU, or to user mode and back.
void World::switch_context(Choices& c) {
    Vcpu& v = vcpu();
    m_.current(v); // its root is loaded anew
    if (c.one_in(2)) {
        for (u32 cpu = 0; cpu < fake::cpus; ++cpu) {
            m_.turn(cpu);
            if (&m_.current() == &v)
                turn_to(nobody());
        }
        m_.turn(static_cast<u32>(c.pick(fake::cpus)));
        turn_to(v);
    }
}

// The CPU sets accessed and dirty bits of entries in force behind everybody's back.
void World::access_bits(Choices& c) {
    const Mfn table = own_table(c, static_cast<u8>(1 + c.pick(2)));
    const TypeWord word{m_.infos[table.n].type.load()};
    if (!is_table(word.type()) || word.count() == 0)
        return;
    u64& value = m_.table(table)[any_index(c)];
    if (entry::is_present(value))
        value |= entry::accessed | (entry::is_writable(value) && word.type() == FrameType::L1 ? entry::dirty : 0);
}

} // namespace domus::guard
