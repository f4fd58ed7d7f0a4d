// Finding the L1 entry behind a guest address. See mmu_walk.hpp.
#include "hypervisor/pv/mmu_walk.hpp"

#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "hypervisor/pv/superpage.hpp"

namespace domus::hv {

std::optional<Walk> walk(u64 root, Vaddr address) {
    if (root == 0 || !arch::is_guest_range(address, 1))
        return std::nullopt;
    Mfn table = frame_of(Maddr(root));
    bool writable = true;
    bool no_execute = false;
    for (FrameType level = FrameType::L4; level != FrameType::L1; level = level_below(level)) {
        const u64 value = arch::read_entry(table, entry_index(address, level));
        if (!entry::is_present(value))
            return std::nullopt;
        if (level == FrameType::L2 && is_superpage(value))
            return std::nullopt; // no L1 table there
        writable = writable && entry::is_writable(value);
        no_execute = no_execute || (value & entry::no_execute) != 0;
        table = entry::frame(value);
    }
    const EntryPlace place{table, entry_index(address, FrameType::L1)};
    return Walk{place, arch::read_entry(place.table, place.index), writable, no_execute};
}

std::optional<EntryPlace> walk_to_l2(u64 root, Vaddr address) {
    if (root == 0 || !arch::is_guest_range(address, 1))
        return std::nullopt;
    Mfn table = frame_of(Maddr(root));
    for (FrameType level = FrameType::L4; level != FrameType::L2; level = level_below(level)) {
        const u64 value = arch::read_entry(table, entry_index(address, level));
        if (!entry::is_present(value))
            return std::nullopt;
        table = entry::frame(value);
    }
    return EntryPlace{table, entry_index(address, FrameType::L2)};
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
