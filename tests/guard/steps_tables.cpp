// Hypercalls about page tables and descriptor tables. See world.hpp.
#include "hypervisor/abi/domus.h"
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "tests/guard/world.hpp"

namespace domus::guard {
namespace {

// RAM of somebody's that is nothing in particular now, not even half validated: a guest can map and fill it.
bool is_idle(Mfn mfn) {
    fake::Machine& m = fake::machine();
    return mfn.n >= fake::first_free_frame && mfn.n < fake::ram_frames && m.infos[mfn.n].owner.load() &&
           (m.infos[mfn.n].type.load() & ~(u64{0xf} << TypeWord::type_shift)) == 0;
}

} // namespace

u32 World::fill_updates(Choices& c, u64 at) {
    const u32 count = 1 + static_cast<u32>(c.pick(6));
    Mfn table = own_table(c, static_cast<u8>(1 + c.pick(4)));
    for (u32 i = 0; i < count; ++i) {
        if (c.one_in(3))
            table = c.one_in(6) ? any_frame(c) : own_table(c, static_cast<u8>(1 + c.pick(4)));
        u8 level = 1;
        if (table.n < fake::ram_frames)
            level = static_cast<u8>(TypeWord{m_.infos[table.n].type.load()}.type());
        constexpr u64 commands[] = {0, 0, 0, 0, 2, 2, 1, 3};
        const u32 index = any_index(c);
        u64 value = any_entry(c, level);
        if (c.one_in(3) && table.n < fake::ram_frames) // other rights on what is there
            value = m_.table(table)[index] ^ (c.one_in(2) ? entry::writable : entry::no_execute);
        m_.put(mmu_update_t{base_of(table).n + index * 8 + c.of(commands, std::size(commands)), value},
               at + i * sizeof(mmu_update_t));
    }
    return count;
}

void World::update_list(Choices& c) {
    const u32 count = fill_updates(c, area());
    const u64 foreign = c.one_in(4) ? any_domid(c) | (c.one_in(3) ? (u64{any_domid(c)} + 1) << 16 : 0) : DOMID_SELF;
    call(__HYPERVISOR_mmu_update, {area(), count, area() + 0x8000, foreign});
}

u32 World::fill_ext(Choices& c, u64 at) {
    constexpr u32 commands[] = {MMUEXT_PIN_L1_TABLE,     MMUEXT_PIN_L2_TABLE,    MMUEXT_PIN_L3_TABLE,
                                MMUEXT_PIN_L4_TABLE,     MMUEXT_PIN_L4_TABLE,    MMUEXT_UNPIN_TABLE,
                                MMUEXT_UNPIN_TABLE,      MMUEXT_UNPIN_TABLE,     MMUEXT_NEW_BASEPTR,
                                MMUEXT_NEW_USER_BASEPTR, MMUEXT_CLEAR_PAGE,      MMUEXT_COPY_PAGE,
                                MMUEXT_TLB_FLUSH_LOCAL,  MMUEXT_TLB_FLUSH_MULTI, MMUEXT_TLB_FLUSH_ALL,
                                MMUEXT_INVLPG_LOCAL,     MMUEXT_INVLPG_ALL,      MMUEXT_SET_LDT};
    const u32 count = 1 + static_cast<u32>(c.pick(4));
    for (u32 i = 0; i < count; ++i) {
        mmuext_op_t op{};
        op.cmd = c.of(commands, std::size(commands));
        const bool pins = op.cmd <= MMUEXT_PIN_L4_TABLE;
        const bool root = op.cmd == MMUEXT_NEW_BASEPTR || op.cmd == MMUEXT_NEW_USER_BASEPTR;
        op.arg1.mfn = (pins && !c.one_in(3) ? own_table(c, static_cast<u8>(1 + op.cmd)) : any_frame(c)).n;
        if (root && !c.one_in(3))
            op.arg1.mfn = own_table(c, 4).n;
        op.arg2.src_mfn = any_frame(c).n;
        if (op.cmd == MMUEXT_SET_LDT) {
            op.arg1.linear_addr = any_address(c).n;
            op.arg2.nr_ents = static_cast<u32>(c.pick(1200));
        } else if (op.cmd == MMUEXT_TLB_FLUSH_MULTI) {
            m_.put(u64{c.pick(4)}, at + 0x1000);
            op.arg2.vcpumask.p = reinterpret_cast<void*>(at + 0x1000);
        } else if (op.cmd == MMUEXT_INVLPG_LOCAL || op.cmd == MMUEXT_INVLPG_ALL) {
            op.arg1.linear_addr = any_address(c).n;
        }
        m_.put(op, at + i * sizeof op);
    }
    return count;
}

void World::ext_list(Choices& c) {
    const u32 count = fill_ext(c, area());
    call(__HYPERVISOR_mmuext_op, {area(), count, area() + 0x8000, c.one_in(8) ? any_domid(c) : u64{DOMID_SELF}});
}

void World::va_mapping(Choices& c) {
    constexpr u64 flags[] = {0, 0, UVMF_TLB_FLUSH | UVMF_LOCAL, UVMF_INVLPG | UVMF_ALL, UVMF_TLB_FLUSH | UVMF_ALL, 3};
    const u64 address = any_address(c).n, value = any_entry(c, 1), flush = c.of(flags, std::size(flags));
    if (c.one_in(4))
        call(__HYPERVISOR_update_va_mapping_otherdomain, {address, value, flush, any_domid(c)});
    else
        call(__HYPERVISOR_update_va_mapping, {address, value, flush});
}

void World::multicall(Choices& c) {
    multicall_of(c, false);
}

void World::multicall_with_unmaps(Choices& c) {
    multicall_of(c, true);
}

void World::multicall_of(Choices& c, bool unmaps) {
    const u32 count = 1 + static_cast<u32>(c.pick(4));
    bool maps = false; // grants: one list of each kind, so once
    forget_grant_list();
    for (u32 i = 0; i < count; ++i) {
        multicall_entry_t entry{};
        const u64 at = area() + 0x2000 + u64{i} * 0x800;
        entry.args[0] = at;
        entry.args[2] = area() + 0x8000 + i * 8;
        entry.args[3] = c.one_in(8) ? any_domid(c) : u64{DOMID_SELF};
        u64 kind = c.pick(maps ? 3 : 4);
        if (unmaps && c.one_in(2) && unmaps_in_multicall(c, entry)) {
            me().unmaps[vcpu_].before_maps = !maps;
            unmaps = false;
            kind = 4;
        }
        switch (kind) {
        case 4:
            break;
        case 3:
            maps = true;
            entry.op = __HYPERVISOR_grant_table_op;
            entry.args[2] = fill_grants(c);
            entry.args[0] = GNTTABOP_map_grant_ref;
            entry.args[1] = grant_list();
            break;
        case 0:
            entry.op = __HYPERVISOR_mmu_update;
            entry.args[1] = fill_updates(c, at);
            break;
        case 1:
            entry.op = __HYPERVISOR_mmuext_op;
            entry.args[1] = fill_ext(c, at);
            break;
        default:
            entry.op = __HYPERVISOR_update_va_mapping;
            entry.args[0] = any_address(c).n;
            entry.args[1] = any_entry(c, 1);
            entry.args[2] = c.one_in(2) ? UVMF_INVLPG : UVMF_TLB_FLUSH;
        }
        m_.put(entry, area() + i * sizeof entry);
    }
    call(__HYPERVISOR_multicall, {area(), count});
}

// Domus' own operations: runs of entries of a table, and lists of tables with the guest's mappings of them.
void World::extension_op(Choices& c) {
    const u64 kind = c.pick(3);
    if (kind == 2)
        return map_run(c);
    if (kind == 1) {
        constexpr u64 bits[] = {
            0,           entry::writable,     entry::writable, entry::no_execute, entry::accessed | entry::dirty,
            entry::user, u64{1} << page_shift};
        const Mfn table = c.one_in(6) ? any_frame(c) : own_table(c, 1);
        const u64 first = base_of(table).n + any_index(c) * sizeof(u64) + (c.one_in(16) ? c.pick(8) : 0);
        const u64 count = c.pick(c.one_in(4) ? 513 : 12);
        const u64 clear = c.of(bits, std::size(bits)), set = c.of(bits, std::size(bits));
        call(__HYPERVISOR_arch_7, {DOMUS_EXT_protect, first, count, clear, set});
        return;
    }
    const u64 count = 1 + c.pick(5);
    for (u64 i = 0; i < count; ++i) {
        const u64 level = c.pick(5);
        const Mfn mfn = c.one_in(3) || level == 0 ? own_frame(c) : own_table(c, static_cast<u8>(level));
        m_.put(c.one_in(8) ? any_address(c).n : physmap(mfn) + level, area() + i * sizeof(u64));
    }
    const u64 what = c.one_in(2) ? DOMUS_EXT_pin_tables : DOMUS_EXT_unpin_tables;
    call(__HYPERVISOR_arch_7, {what, area(), count, c.one_in(8) ? c.pick(2 * count) : 0});
}

void World::map_run(Choices& c) {
    const Mfn table = c.one_in(6) ? any_frame(c) : own_table(c, 1);
    const u32 index = any_index(c);
    const u64 count = c.pick(c.one_in(8) ? 513 : 12);
    const u64 list = area() + 0xa000;
    for (u64 i = 0; i < count; ++i) {
        u64 value = any_entry(c, 1);
        if (c.one_in(8) && table.n < fake::ram_frames && index + i < 512) // other rights on what is there
            value = m_.table(table)[index + i] ^ entry::writable;
        m_.put(value, list + i * sizeof value);
    }
    const u64 first = base_of(table).n + index * sizeof(u64) + (c.one_in(16) ? c.pick(8) : 0);
    call(__HYPERVISOR_arch_7, {DOMUS_EXT_map, first, count, c.one_in(16) ? any_address(c).n : list});
}

// As a kernel does before a frame becomes a table, or leaves: its mappings go, or lose the right to write. No flush.
void World::withdraw(Choices& c, Mfn mfn, bool whole) {
    u32 count = 0;
    for (u64 at = domain().frames.with([](OwnedFrames& list) { return list.head; }); at != 0; at = m_.infos[at].next) {
        const TypeWord word{m_.infos[at].type.load()};
        if (word.type() != FrameType::L1 || word.count() == 0)
            continue;
        for (u32 i = 0; i < 512 && count < 32; ++i) {
            const u64 value = m_.table(Mfn(at))[i];
            if (entry::is_present(value) && entry::frame(value) == mfn && (whole || entry::is_writable(value)))
                m_.put(mmu_update_t{base_of(Mfn(at)).n + i * 8 + (c.one_in(2) ? 2 : 0),
                                    whole ? 0 : value & ~entry::writable},
                       area() + count++ * sizeof(mmu_update_t));
        }
    }
    if (count != 0)
        call(__HYPERVISOR_mmu_update, {area(), count, area() + 0x8000, DOMID_SELF});
}

void World::pin_fresh(Choices& c) {
    const Mfn mfn = own_frame(c);
    withdraw(c, mfn, false);
    const u8 level = static_cast<u8>(1 + (c.one_in(2) ? 0 : c.pick(4)));
    if (is_idle(mfn) && !c.one_in(4)) { // contents that may pass, written before by way of a mapping
        for (u32 i = 0; i < 3; ++i)
            m_.table(mfn)[any_index(c)] = any_entry(c, level);
    }
    mmuext_op_t op{};
    op.cmd = MMUEXT_PIN_L1_TABLE + level - 1;
    op.arg1.mfn = mfn.n;
    m_.put(op, area());
    call(__HYPERVISOR_mmuext_op, {area(), 1, 0, DOMID_SELF});
}

void World::descriptors(Choices& c) {
    if (c.one_in(3)) {
        constexpr u64 present_code = 0x00af9b000000ffff, gate = 0x00008e0000000000;
        const u64 value = c.one_in(3) ? c.bits() : c.one_in(2) ? present_code : gate;
        call(__HYPERVISOR_update_descriptor, {base_of(any_frame(c)).n + c.pick(512) * 8, value});
        return;
    }
    const u32 pages = static_cast<u32>(c.pick(3));
    const Mfn first = any_frame(c);
    if (c.one_in(2))
        withdraw(c, first, false);
    if (is_idle(first) && !c.one_in(4))
        std::memset(m_.frame(first), 0, page_size);
    for (u32 i = 0; i < pages; ++i)
        m_.put(u64{(i == 0 ? first : any_frame(c)).n}, area() + i * 8);
    call(__HYPERVISOR_set_gdt, {area(), pages * u64{512}});
}

} // namespace domus::guard
