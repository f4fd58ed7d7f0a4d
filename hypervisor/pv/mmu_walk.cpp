// Finding the L1 entry behind a guest address. See mmu_walk.hpp.
#include "hypervisor/pv/mmu_walk.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/superpage.hpp"

namespace domus::hv {

namespace {

// What the levels above a table grant together.
struct Way {
    Mfn table;
    bool writable = true;
    bool no_execute = false;
};

// Down to the table of level `to` behind an address; no L1 is behind a superpage. Inline: what a caller does not look
// at is not computed.
[[gnu::always_inline]] inline std::optional<Way> descend(u64 root, Vaddr address, FrameType to) {
    if (root == 0 || !arch::is_guest_range(address, 1))
        return std::nullopt;
    Way way{frame_of(Maddr(root))};
    for (FrameType level = FrameType::L4; level != to; level = level_below(level)) {
        const u64 value = arch::read_entry(way.table, entry_index(address, level));
        if (!entry::is_present(value) || (level == FrameType::L2 && is_superpage(value)))
            return std::nullopt;
        way.writable = way.writable && entry::is_writable(value);
        way.no_execute = way.no_execute || (value & entry::no_execute) != 0;
        way.table = entry::frame(value);
    }
    return way;
}

} // namespace

std::optional<Walk> walk(u64 root, Vaddr address) {
    const auto way = descend(root, address, FrameType::L1);
    if (!way)
        return std::nullopt;
    const EntryPlace place{way->table, entry_index(address, FrameType::L1)};
    return Walk{place, arch::read_entry(place.table, place.index), way->writable, way->no_execute};
}

std::optional<EntryPlace> walk_to_l2(u64 root, Vaddr address) {
    const auto way = descend(root, address, FrameType::L2);
    if (!way)
        return std::nullopt;
    return EntryPlace{way->table, entry_index(address, FrameType::L2)};
}

bool hold_table(Mfn table, FrameType level, const Domain& owner) {
    if (!get_frame(table, owner))
        return false;
    const auto type = get_present_type(table);
    if (type && type.value() == level)
        return true;
    if (type)
        put_type(table);
    put_frame(table);
    return false;
}

Result<void> open_l1(const EntryPlace& place, const Domain& owner) {
    if (!hold_table(place.table, FrameType::L1, owner))
        return Err::Inval;
    return {};
}

void close_l1(const EntryPlace& place) {
    put_frame_and_type(place.table);
}

} // namespace domus::hv
