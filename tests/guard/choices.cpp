// What a hostile guest would choose: mostly things that nearly work. See world.hpp.
#include "hypervisor/core/frame_word.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "tests/guard/world.hpp"

namespace domus::guard {

Mfn World::own_frame(Choices& c) {
    u64 at = domain().frames.with([](OwnedFrames& list) { return list.head; });
    for (u64 n = c.pick(first_frames + 8); n > 0 && m_.infos[at].next != 0; --n)
        at = m_.infos[at].next;
    return Mfn(at);
}

Mfn World::own_table(Choices& c, u8 level) {
    Mfn mfn = own_frame(c);
    for (int tries = 0; tries < 40; ++tries) {
        if (static_cast<u8>(TypeWord{m_.infos[mfn.n].type.load()}.type()) == level)
            return mfn;
        mfn = m_.infos[mfn.n].next != 0 ? Mfn(m_.infos[mfn.n].next) : own_frame(c);
    }
    return mfn;
}

u32 World::other_slot(Choices& c) {
    return static_cast<u32>(c.pick(slots));
}

u16 World::any_domid(Choices& c) {
    if (c.one_in(3)) {
        const Slot& other = slots_[other_slot(c)];
        if (other.domain)
            return other.domain->id.n;
    }
    constexpr u16 special[] = {DOMID_SELF, DOMID_SELF, DOMID_SELF, DOMID_SELF, DOMID_IO, DOMID_XEN, 0};
    return c.of(special, std::size(special));
}

Mfn World::any_frame(Choices& c) {
    if (!c.one_in(12))
        return own_frame(c);
    const Slot& other = slots_[other_slot(c)];
    if (!other.domain || c.one_in(3))
        return Mfn(c.pick(fake::ram_frames + 64));
    u64 at = other.domain->frames.with([](OwnedFrames& list) { return list.head; });
    for (u64 n = c.pick(first_frames); n > 0 && at != 0 && m_.infos[at].next != 0; --n)
        at = m_.infos[at].next;
    return Mfn(at);
}

u64 World::any_entry(Choices& c, u8 level) {
    constexpr u64 rw = entry::present | entry::writable | entry::user | entry::accessed | entry::dirty;
    constexpr u64 ro = entry::present | entry::user | entry::accessed;
    constexpr u64 flags[] = {rw,
                             rw,
                             rw,
                             ro,
                             ro,
                             ro,
                             0,
                             rw | entry::no_execute,
                             ro | entry::global,
                             rw | entry::large,
                             ro | entry::cache_disable,
                             entry::present | entry::writable};
    if (c.one_in(6))
        return c.one_in(8) ? c.bits() : 0;
    const u64 chosen = c.of(flags, std::size(flags));
    if (level > 1 && !c.one_in(4))
        return entry::make(own_table(c, static_cast<u8>(level - 1)), chosen);
    return entry::make(any_frame(c), chosen);
}

u32 World::any_index(Choices& c) {
    constexpr u32 common[] = {0, 1, 2, 3, 255, 256, 271, 272, 511};
    return c.one_in(3) ? static_cast<u32>(c.pick(first_frames)) : c.of(common, std::size(common));
}

Vaddr World::any_address(Choices& c) {
    if (!c.one_in(3)) // where the first tables put something
        return c.one_in(2) ? Vaddr((c.pick(2) << 21) + c.pick(10) * page_size)
                           : Vaddr(0xffff880000000000 + c.pick(first_frames) * page_size);
    u64 address = 0;
    for (int level = 0; level < 4; ++level)
        address = address << 9 | any_index(c);
    address <<= page_shift;
    return Vaddr((address >> 47 & 1) != 0 ? address | 0xffff000000000000 : address);
}

u64 World::physmap(Mfn mfn) {
    const u64 pfn = m_.m2p[mfn.n];
    return pfn < first_frames ? 0xffff880000000000 + pfn * page_size : 0;
}

} // namespace domus::guard
