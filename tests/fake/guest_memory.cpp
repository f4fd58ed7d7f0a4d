// Guest memory on the fake machine: the plain window, and else the current vcpu's own page tables.
#include "hypervisor/arch/iface/memory.hpp"
#include "hypervisor/base/checked.hpp"
#include "hypervisor/pv/page_entry.hpp"
#include "tests/fake/machine.hpp"

#include <cstring>

namespace domus::hv::arch {

using fake::machine;

namespace {

// The byte behind a guest address in the address space in force, or nullptr (the CPU would fault).
u8* translate(Vaddr at, bool write) {
    u64 root = machine().loaded_root();
    if (root == 0)
        return nullptr;
    Mfn table = frame_of(Maddr(root));
    for (u8 level = 4; level >= 1; --level) {
        const u64 value = machine().table(table)[entry_index(at, static_cast<FrameType>(level))];
        if (!entry::is_present(value) || (write && !entry::is_writable(value)))
            return nullptr;
        if ((value & entry::user) == 0)
            throw fake::Stopped("the hypervisor would walk through a table that is out of force");
        table = entry::frame(value);
        if (table.n >= frame_limit())
            return nullptr;
        if (level == 2 && (value & entry::large) != 0)
            return machine().frame(Mfn(table.n + entry_index(at, FrameType::L1))) + (at.n & page_mask);
    }
    return machine().frame(table) + (at.n & page_mask);
}

// Runs `copy(guest bytes, length)` page by page; the number of bytes not reached.
template <class Copy>
usize each_page(Vaddr at, usize bytes, bool write, Copy&& copy) {
    while (bytes > 0) {
        const usize here = std::min<usize>(bytes, page_size - (at.n & page_mask));
        u8* place = machine().window(at.n, here);
        if (!place)
            place = translate(at, write);
        if (!place)
            return bytes;
        copy(place, here);
        at = at + here;
        bytes -= here;
    }
    return 0;
}

// The callers' duty: on the real machine nothing stops such a copy from reaching the hypervisor's own memory.
void expect_guest_range(Vaddr start, usize bytes) {
    if (!is_guest_range(start, bytes))
        throw fake::Stopped("a copy for the guest at an address that it may not name");
}

} // namespace

usize copy_from_guest(void* to, Vaddr from, usize bytes) {
    expect_guest_range(from, bytes);
    u8* target = static_cast<u8*>(to);
    return each_page(from, bytes, false, [&](u8* place, usize here) {
        std::memcpy(target, place, here);
        target += here;
    });
}
usize copy_to_guest(Vaddr to, const void* from, usize bytes) {
    expect_guest_range(to, bytes);
    const u8* source = static_cast<const u8*>(from);
    return each_page(to, bytes, true, [&](u8* place, usize here) {
        std::memcpy(place, source, here);
        source += here;
    });
}
usize clear_guest(Vaddr to, usize bytes) {
    expect_guest_range(to, bytes);
    return each_page(to, bytes, true, [](u8* place, usize here) { std::memset(place, 0, here); });
}

} // namespace domus::hv::arch
