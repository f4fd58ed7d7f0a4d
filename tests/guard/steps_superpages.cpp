// Superpages: entries of L2 tables that map 2 MiB of a domain's own, well and badly formed, and what happens to single
// frames within. Only some domains own an aligned block; the others try. See world.hpp.
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "tests/guard/world.hpp"

#include <optional>

namespace domus::guard {
namespace {

constexpr u64 block_frames = 512;

std::optional<u32> superpage_in(const u64* table, u32 first) {
    for (u32 i = 0; i < 512; ++i) {
        const u32 index = (first + i) % 512;
        if (entry::is_present(table[index]) && (table[index] & entry::large) != 0)
            return index;
    }
    return std::nullopt;
}

} // namespace

Mfn World::block_frame(Choices& c) {
    return Mfn(me().block.n + (c.one_in(2) ? c.pick(4) : c.one_in(2) ? block_frames - 1 : c.pick(block_frames)));
}

u64 World::any_superpage(Choices& c) {
    constexpr u64 ro = entry::present | entry::user | entry::accessed | entry::large, rw = ro | entry::writable;
    constexpr u64 flags[] = {rw, rw, rw, rw | entry::dirty, ro, ro, ro | entry::no_execute, ro | entry::global};
    constexpr u64 bad[] = {rw | entry::cache_disable, ro | entry::write_through, ro | u64{1} << page_shift,
                           rw | u64{1} << 20, ro ^ entry::present};
    Mfn first = me().block;
    if (c.one_in(8))
        first = slots_[other_slot(c)].block;
    else if (c.one_in(12))
        first = Mfn(any_frame(c).n & ~(block_frames - 1));
    if (c.one_in(6))
        first = Mfn(first.n + (c.one_in(2) ? block_frames : 1 + c.pick(block_frames - 1)));
    return entry::make(first, c.one_in(8) ? c.of(bad, std::size(bad)) : c.of(flags, std::size(flags)));
}

void World::write_superpage(Choices& c, Mfn table, u32 index, u64 value) {
    const u64 base = physmap(table);
    if (base != 0 && c.one_in(4)) {
        store(c, base + index * sizeof(u64), value);
        return;
    }
    m_.put(mmu_update_t{base_of(table).n + index * sizeof(u64) + (c.one_in(3) ? 2 : 0), value}, area());
    call(__HYPERVISOR_mmu_update, {area(), 1, c.one_in(2) ? 0 : area() + 0x8000, DOMID_SELF});
}

// Every superpage of the domain's goes, or loses the right to write. No flush.
void World::withdraw_superpages(Choices& c, bool whole) {
    for (u64 at = domain().frames.with([](OwnedFrames& list) { return list.head; }); at != 0; at = m_.infos[at].next) {
        const TypeWord word{m_.infos[at].type.load()};
        if (word.type() != FrameType::L2 || word.count() == 0)
            continue;
        for (u32 i = 0; i < 512; ++i) {
            const u64 value = m_.table(Mfn(at))[i];
            if (entry::is_present(value) && (value & entry::large) != 0 && (whole || entry::is_writable(value)))
                write_superpage(c, Mfn(at), i, whole ? 0 : value & ~entry::writable);
        }
    }
}

// A frame of the block becomes a table or is mapped by an entry of its own.
void World::use_block_frame(Choices& c) {
    const Mfn mfn = block_frame(c);
    if (mfn.n >= fake::ram_frames)
        return;
    if (c.one_in(2)) {
        const u64 flags = entry::present | entry::user | (c.one_in(2) ? entry::writable : 0);
        m_.put(mmu_update_t{base_of(own_table(c, 1)).n + any_index(c) * sizeof(u64), entry::make(mfn, flags)}, area());
        call(__HYPERVISOR_mmu_update, {area(), 1, 0, DOMID_SELF});
        return;
    }
    if (!c.one_in(3))
        withdraw_superpages(c, c.one_in(2));
    mmuext_op_t op{};
    op.cmd = c.one_in(4) ? MMUEXT_UNPIN_TABLE : MMUEXT_PIN_L1_TABLE + static_cast<u32>(c.pick(4));
    op.arg1.mfn = mfn.n;
    m_.put(op, area());
    call(__HYPERVISOR_mmuext_op, {area(), 1, 0, DOMID_SELF});
}

// An L2 that is not in force yet, with superpages between empty entries.
void World::pin_superpages(Choices& c) {
    const Mfn mfn = own_frame(c);
    withdraw(c, mfn, false);
    const bool idle = (m_.infos[mfn.n].type.load() & ~(u64{0xf} << TypeWord::type_shift)) == 0;
    for (u32 i = 0; idle && i < 3; ++i)
        m_.table(mfn)[any_index(c)] = c.one_in(3) ? any_entry(c, 2) : any_superpage(c);
    mmuext_op_t op{};
    op.cmd = c.one_in(6) ? MMUEXT_PIN_L3_TABLE : MMUEXT_PIN_L2_TABLE;
    op.arg1.mfn = mfn.n;
    m_.put(op, area());
    call(__HYPERVISOR_mmuext_op, {area(), 1, 0, DOMID_SELF});
}

void World::superpages(Choices& c) {
    const Mfn table = own_table(c, c.one_in(12) ? 3 : 2);
    const u32 index = any_index(c);
    switch (c.pick(8)) {
    case 0:
    case 1:
        return write_superpage(c, table, index, any_superpage(c));
    case 2:
    case 3: // other rights on what is there
        if (const auto there = superpage_in(m_.table(table), index)) {
            constexpr u64 changes[] = {entry::writable, entry::writable, entry::dirty, entry::no_execute,
                                       entry::present,  entry::large,    u64{1} << 52};
            write_superpage(c, table, *there, m_.table(table)[*there] ^ c.of(changes, std::size(changes)));
        }
        return;
    case 4:
        if (const auto there = superpage_in(m_.table(table), index))
            write_superpage(c, table, *there, c.one_in(2) ? 0 : any_entry(c, 2));
        return;
    case 5:
        return pin_superpages(c);
    case 6:
        return use_block_frame(c);
    default: // the address of a frame within, which has no entry of its own
        m_.put(u64{block_frame(c).n}, area());
        if (!c.one_in(24)) {
            call(__HYPERVISOR_update_va_mapping, {u64{any_index(c)} << 21 | c.pick(512) << 12, any_entry(c, 1), 0});
            return;
        }
        xen_memory_reservation_t r{}; // the block is never whole again
        r.nr_extents = 1;
        r.domid = DOMID_SELF;
        r.extent_start.p = reinterpret_cast<xen_pfn_t*>(area());
        m_.put(r, area() + 0x1000);
        call(__HYPERVISOR_memory_op, {XENMEM_decrease_reservation, area() + 0x1000});
    }
}

} // namespace domus::guard
